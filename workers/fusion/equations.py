"""Published equations as data: coefficients, how inputs are transformed, where they are from, and vectors to test them.

    variables   name -> {of: feature, equals: value} or {of: feature | sum: {feature: factor}, steps: [[do, by], …]}
    implied     [{when: {feature: value}, then: {feature: value}}]: what one input says of another
    equations   [{output, when, form, intercept, terms: [[coefficient, [variables that are multiplied]], …],
                  scale, population: {input: {at_least, at_most, one_of}}, source}]
    vectors     [{inputs, expected: {output: probability}, tolerance, source}]

Nothing of it is executed: a step is one of minus, divide, power, at_least, at_most, log. The forms are ``logistic``,
p = 1 / (1 + exp(-lp)), ``survival``, p = 1 - S0 ** exp(lp), and ``points``, whose sum is looked up in ``bands``.
``scale`` recalibrates a survival to a region: p = 1 - exp(-exp(a + b ln(-ln(1 - p)))).
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
Known = bool | float | str  # in this order: true is a number to pydantic, too


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Variable(_Table):
    """A number that is made of inputs."""

    of: str = ""
    equals: Known | None = None
    sum: dict[str, float] = Field(default_factory=dict)
    between: tuple[float | None, float | None] | None = None  # 1 from the first on and below the second, else 0
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
        if self.between is not None:
            low, high = self.between
            return float((low is None or number >= low) and (high is None or number < high))
        return number


class Bound(_Table):
    """What an input must be like for an equation to speak of this person."""

    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[Known, ...] = ()

    def outside(self, name: str, value: Value, *, unknown_fits: bool) -> str:
        """Why a value lies outside; empty: it does not."""
        if value is None:
            return "" if unknown_fits else f"whether {name} fits is not known"
        if self.one_of and value not in self.one_of:
            return f"{name} is {_said(value)}, not {' or '.join(map(_said, self.one_of))}"
        if isinstance(value, str):
            return ""
        if self.at_least is not None and value < self.at_least:
            return f"{name} is {value:g}, below {self.at_least:g}"
        if self.at_most is not None and value > self.at_most:
            return f"{name} is {value:g}, above {self.at_most:g}"
        return ""


class Equation(_Table):
    """One outcome, for those of whom ``when`` is true."""

    output: str
    when: dict[str, Known] = Field(default_factory=dict)
    form: Literal["logistic", "survival", "points"]
    survival: Annotated[float, Field(gt=0, lt=1)] | None = None
    scale: tuple[float, float] | None = None  # of a survival: recalibration to a region
    bands: tuple[tuple[float, float], ...] = ()  # of points: from this sum on, this probability
    intercept: float
    terms: tuple[tuple[float, tuple[str, ...]], ...]
    population: dict[str, Bound] = Field(default_factory=dict)  # whom it was made for
    source: str = ""  # where another one than that of the file


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
            if (equation.form == "points") != bool(equation.bands):
                raise ValueError(f"{equation.output}: bands go with the form points")
            if equation.scale is not None and equation.form != "survival":
                raise ValueError(f"{equation.output}: scale goes with the form survival")
        return self

    def needs(self, equation: Equation) -> frozenset[str]:
        """Inputs that an equation takes, with those that decide whether it holds."""
        names = {name for _, variables in equation.terms for name in variables}
        told = frozenset(equation.when) | frozenset(equation.population)
        return told.union(*(self.variables[name].inputs for name in names))

    def needed_for(self, output: str) -> frozenset[str]:
        """Inputs that any equation of an outcome takes."""
        return frozenset().union(*(self.needs(each) for each in self.equations if each.output == output))

    def outside(self, output: str, inputs: Inputs, *, unknown_fits: bool = False) -> str:
        """Why no equation of an outcome was made for such a person; empty: one was."""
        why = [
            [
                words
                for name, bound in each.population.items()
                if (words := bound.outside(name, inputs.get(name), unknown_fits=unknown_fits))
            ]
            for each in self.equations
            if each.output == output and _may_hold(each.when, inputs)
        ]
        return "" if not why or [] in why else "; ".join(why[0])

    def cited(self, equation: Equation) -> str:
        """Where an equation is from."""
        return equation.source or self.source

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

    def probability(self, equation: Equation, inputs: Inputs, more: float = 0.0) -> float:
        """The risk, from 0 to 1; with ``more`` added to the linear predictor.

        Raises:
            ValueError, ArithmeticError: an input has no place in the equation, e.g. 0 cigarettes a day.
        """
        predictor = equation.intercept + sum(value for _, value in self.contributions(equation, inputs)) + more
        if equation.form == "points":
            return max((band for band in equation.bands if predictor >= band[0]), key=lambda band: band[0])[1]
        if equation.survival is None:
            return 1 / (1 + math.exp(-predictor))
        risk = 1 - equation.survival ** math.exp(predictor)
        if equation.scale is not None:
            offset, slope = equation.scale
            return float(1 - math.exp(-math.exp(offset + slope * math.log(-math.log(1 - risk)))))
        return float(risk)


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


def _may_hold(when: Mapping[str, Known], inputs: Inputs) -> bool:
    return all(inputs.get(name) in (None, value) for name, value in when.items())


def _said(value: Value) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


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
