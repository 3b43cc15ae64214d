"""Published equations as data: coefficients, how inputs are transformed, where they are from, and vectors to test them.

    variables   name -> {of: feature, equals: value} or {of: feature | sum: {feature: factor}, steps: [[do, by], …]}
    implied     [{when: {feature: value}, then: {feature: value}}]: what one input says of another
    equations   [{output, when, form, intercept, terms: [[coefficient, [variables that are multiplied]], …]}]
    vectors     [{inputs, expected: {output: probability}, tolerance, source}]

Nothing of it is executed: a step is one of minus, divide, power, at_least, at_most, log. The forms are ``logistic``,
p = 1 / (1 + exp(-lp)), and ``survival``, p = 1 - S0 ** exp(lp).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dicom_node.domain.feature import Value
from dicom_node.errors import ContractError

Inputs = Mapping[str, Value]
Known = float | bool | str


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Variable(_Table):
    """A number that is made of inputs."""

    of: str = ""
    equals: Known | None = None
    sum: dict[str, float] = Field(default_factory=dict)
    steps: tuple[tuple[Literal["minus", "divide", "power", "at_least", "at_most", "log"], float], ...] = ()

    @model_validator(mode="after")
    def _is_one_thing(self) -> Variable:
        if bool(self.of) == bool(self.sum):
            raise ValueError("a variable is of one input, or a sum of several")
        return self

    @property
    def inputs(self) -> frozenset[str]:
        """Names of the inputs it is made of."""
        return frozenset({self.of} if self.of else self.sum)

    def value(self, inputs: Inputs) -> float:
        """Its number."""
        if self.equals is not None:
            return float(inputs[self.of] == self.equals)
        number = sum(factor * _number(inputs, name) for name, factor in (self.sum or {self.of: 1.0}).items())
        for do, by in self.steps:
            number = _step(do, number, by)
        return number


class Equation(_Table):
    """One outcome, for those of whom ``when`` is true."""

    output: str
    when: dict[str, Known] = Field(default_factory=dict)
    form: Literal["logistic", "survival"]
    survival: Annotated[float, Field(gt=0, lt=1)] | None = None
    intercept: float
    terms: tuple[tuple[float, tuple[str, ...]], ...]


class Implied(_Table):
    """What one input says of another."""

    when: dict[str, Known]
    then: dict[str, Known]


class Vector(_Table):
    """A published example."""

    inputs: dict[str, Known]
    expected: dict[str, float]
    tolerance: Annotated[float, Field(gt=0)]
    source: Annotated[str, Field(min_length=1)]


class Equations(_Table):
    """All equations of one model."""

    source: Annotated[str, Field(min_length=1)]  # citation with DOI
    variables: dict[str, Variable]
    implied: tuple[Implied, ...] = ()
    equations: Annotated[tuple[Equation, ...], Field(min_length=1)]
    vectors: Annotated[tuple[Vector, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_what_there_is(self) -> Equations:
        for equation in self.equations:
            for name in {name for _, names in equation.terms for name in names} - self.variables.keys():
                raise ValueError(f"{equation.output} names the variable {name!r}, which there is not")
            if (equation.form == "survival") != (equation.survival is not None):
                raise ValueError(f"{equation.output}: survival goes with the form of that name")
        return self

    def needs(self, equation: Equation) -> frozenset[str]:
        """Inputs that an equation takes, with those that decide whether it holds."""
        names = {name for _, variables in equation.terms for name in variables}
        return frozenset(equation.when).union(*(self.variables[name].inputs for name in names))

    @property
    def inputs(self) -> frozenset[str]:
        """Inputs that any equation takes."""
        return frozenset().union(*map(self.needs, self.equations))

    def choose(self, output: str, inputs: Inputs) -> Equation | None:
        """The first equation of an outcome that holds, and of which all inputs are known."""
        for equation in self.equations:
            known = all(inputs.get(name) is not None for name in self.needs(equation))
            if equation.output == output and known and _holds(equation.when, inputs):
                return equation
        return None

    def completed(self, inputs: Inputs) -> dict[str, Value]:
        """Inputs, with what they say of those that are not known."""
        found = dict(inputs)
        for rule in self.implied:
            if _holds(rule.when, found):
                found |= {name: value for name, value in rule.then.items() if found.get(name) is None}
        return found

    def contributions(self, equation: Equation, inputs: Inputs) -> tuple[tuple[str, float], ...]:
        """What each term adds to the linear predictor: exact, against the reference that its variables subtract."""
        return tuple(
            (" x ".join(names), coefficient * math.prod(self.variables[name].value(inputs) for name in names))
            for coefficient, names in equation.terms
        )

    def probability(self, equation: Equation, inputs: Inputs) -> float:
        """The risk, from 0 to 1.

        Raises:
            ValueError, ArithmeticError: an input has no place in the equation, e.g. 0 cigarettes a day.
        """
        predictor = equation.intercept + sum(value for _, value in self.contributions(equation, inputs))
        if equation.survival is not None:
            return float(1 - equation.survival ** math.exp(predictor))
        return 1 / (1 + math.exp(-predictor))


def read(file: Path) -> Equations:
    """The equations of a model.

    Raises:
        ContractError: they are no such file, or its vectors do not come out.
    """
    try:
        found = Equations.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ContractError(f"cannot be read: {error}", file=file) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ContractError(str(first["msg"]), file=file, key=".".join(map(str, first["loc"]))) from error
    for wrong in misses(found):
        raise ContractError(wrong, file=file, reason="vector", remedy="correct the coefficients by their source")
    return found


def misses(equations: Equations) -> Sequence[str]:
    """Vectors that do not come out, in words."""
    told = []
    for number, vector in enumerate(equations.vectors, start=1):
        inputs = equations.completed(vector.inputs)
        for output, expected in vector.expected.items():
            equation = equations.choose(output, inputs)
            found = equations.probability(equation, inputs) if equation else math.nan
            if not abs(found - expected) <= vector.tolerance:
                told.append(
                    f"vector {number} ({vector.source}) has {output} {expected:g}, the equation gives {found:g}"
                )
    return told


def _holds(when: Mapping[str, Known], inputs: Inputs) -> bool:
    return all(inputs.get(name) == value for name, value in when.items())


def _number(inputs: Inputs, name: str) -> float:
    value = inputs[name]
    if isinstance(value, str) or value is None:
        raise ValueError(f"{name} is no number")
    return float(value)


def _step(do: str, number: float, by: float) -> float:
    if do == "minus":
        return number - by
    if do == "divide":
        return number / by
    if do == "power":
        return float(number**by)
    if do == "log":
        return math.log(number + by)
    return max(number, by) if do == "at_least" else min(number, by)
