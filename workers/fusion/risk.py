"""A job's features -> findings: the risk, every input with its source and age, what was missing and what that does.

A risk is told as one number only where every input is known, or has a published default. Where inputs are bracketed the
answer is the interval, as "not evaluated"; where one that is needed is missing, or the person is none of those for whom
the equation was made, there is none, with its reason.

Outcomes of lesions are told of each that a person has confirmed; what a model only marked stays a candidate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import FeatureSpec, FeatureState, Value, WhenMissing
from dicom_node.domain.finding import Classification, Code, Findings, Lesion, Measurement, Presence
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.output import ValueOutput, ValueSpec
from dicom_node.domain.polygenic import Polygenic
from dicom_node.errors import ContractError
from workers.fusion.equations import Equation, Equations, read
from workers.fusion.given import Given, lesion_lines, notes_of, why, with_declared

FUSION = "fusion"  # the task of contracts whose configuration is equations
_CORNERS = 4096  # that brackets may have together


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the equations say."""

    measurements: tuple[Measurement, ...]
    classes: tuple[Classification, ...]  # outcomes that are not evaluated
    notes: tuple[str, ...]


@dataclass
class _Person:
    """Whom outcomes are told of: the patient, or a lesion of the patient."""

    specs: tuple[FeatureSpec, ...]
    given: Given
    inputs: dict[str, Value] = field(default_factory=dict)
    lesion: Lesion | None = None

    def missing(self, needed: frozenset[str], known: frozenset[str]) -> list[FeatureSpec]:
        """What an outcome needs and is not known; what no equation names is needed by all."""
        return [
            spec
            for spec in self.specs
            if self.inputs.get(spec.name) is None and (spec.name in needed or spec.name not in known)
        ]


@dataclass
class _Answers:
    measurements: list[Measurement] = field(default_factory=list)
    classes: list[Classification] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def assess(
    contract: ModelContract, told: Mapping[str, Any] | None, parameters: Mapping[str, Any] | None = None
) -> Assessment:
    """The outcomes of a model of the task ``fusion``; ``parameters``: of its rule.

    Raises:
        ContractError: its equations are broken, or take what the contract does not ask for.
        ConfigurationError: the parameters are none of its.
    """
    equations = equations_of(contract)
    given = Given.of(told)
    polygenic = Polygenic.of(parameters or {})
    given = with_declared(contract, given, parameters or {})
    patient = _completed(_Person(contract.features, given), given, equations)
    answers = _Answers(notes=list(notes_of(contract, given, patient.inputs)))
    for output, spec in _outcomes(contract):
        if not output.of_lesions:
            _answer(answers, output, spec, patient, equations)
    if polygenic:
        _beside(answers, polygenic, patient, equations, contract)
    _of_lesions(answers, contract, given, patient, equations)
    return Assessment(tuple(answers.measurements), tuple(answers.classes), tuple(answers.notes))


def findings_of(found: Assessment, grid: VoxelGrid, frames: tuple[str, ...], notes: tuple[str, ...]) -> Findings:
    """The same as findings, told with the images ``frames`` on ``grid``."""
    return Findings(
        grid=grid,
        layers=(),
        frames=frames,
        segments=(),
        measurements=found.measurements,
        notes=(*notes, *found.notes),
        classes=found.classes,
    )


def equations_of(contract: ModelContract) -> Equations:
    """The equations of a contract, whose vectors come out.

    Raises:
        ContractError: they are broken, or do not fit the contract.
    """
    file = contract.folder / contract.configuration
    equations = read(file)
    of_lesions = [each.spec for each in contract.lesions.features] if contract.lesions else []
    asked = {spec.name for spec in (*contract.features, *of_lesions)}
    outputs = {spec.name for _, spec in _outcomes(contract)}
    if unknown := sorted(equations.inputs - asked):
        raise ContractError(f"the equations take {', '.join(unknown)}, which [[features]] does not ask for", file=file)
    if unknown := sorted(outputs - {equation.output for equation in equations.equations}):
        raise ContractError(f"no equation yields {', '.join(unknown)}", file=file)
    return equations


def _outcomes(contract: ModelContract) -> Sequence[tuple[ValueOutput, ValueSpec]]:
    return [(output, spec) for output in contract.outputs if isinstance(output, ValueOutput) for spec in output.values]


def _completed(person: _Person, given: Given, equations: Equations) -> _Person:
    """With what inputs say of others, and the published defaults."""
    names = {spec.name for spec in person.specs}
    known = {
        name: each.value for name, each in given.values.items() if each.state is FeatureState.PRESENT and name in names
    }
    person.inputs = equations.completed({**person.inputs, **known})
    for spec in person.specs:
        if person.inputs.get(spec.name) is None and spec.missing is WhenMissing.DEFAULT:
            person.inputs[spec.name] = spec.default
    return person


def _answer(answers: _Answers, output: ValueOutput, spec: ValueSpec, person: _Person, equations: Equations) -> None:
    """One outcome of one person or lesion: a number, or why there is none."""
    sources = [equations.cited(each) for each in equations.equations if each.output == spec.name]

    def none(reason: str) -> None:
        source = " ".join(dict.fromkeys(sources))
        answers.classes.append(
            Classification(
                spec.name,
                output.name,
                spec.concept,
                Presence.NOT_EVALUATED,
                None,
                None,
                reason,
                source,
                person.lesion,
            )
        )

    missing = person.missing(equations.needed_for(spec.name), equations.inputs)
    if outside := equations.outside(spec.name, person.inputs, unknown_fits=True):
        none(f"the equation does not speak of this case: {outside}")
        return
    if refused := "; ".join(why(each, person.given) for each in missing if each.missing is WhenMissing.REFUSE):
        none(refused)
        return
    if unknown := equations.outside(spec.name, person.inputs):
        none(unknown)
        return
    brackets = {each.name: each.bracket for each in missing if each.bracket is not None}
    if 2 ** len(brackets) > _CORNERS:
        none(f"too much is not known: {', '.join(brackets)}")
        return
    corners = [equations.completed(person.inputs | corner) for corner in _corners(brackets)]
    found = [(equations.choose(spec.name, corner), corner) for corner in corners]
    try:
        risks = [equations.probability(equation, corner) for equation, corner in found if equation is not None]
    except (ValueError, ArithmeticError) as error:
        none(f"an input has no place in the equation: {error}")
        return
    if len(risks) < len(found):
        without = "; ".join(why(each, person.given) for each in missing if each.missing is WhenMissing.OMIT)
        none("no equation holds for these inputs" + (f": {without}" if without else ""))
    elif brackets:
        between = f"between {100 * min(risks):.2f} and {100 * max(risks):.2f} %"
        none(f"{between}, since this is not known: {_named(brackets, person)}")
    else:
        equation = found[0][0]
        assert equation is not None  # noqa: S101  as many risks as corners
        method = f"{spec.method} {equations.cited(equation)}".strip()
        answers.measurements.append(
            Measurement(spec.name, spec.concept, 100 * risks[0], spec.unit, (), method=method, lesion=person.lesion)
        )
        answers.notes.append(_shares(equations, equation, found[0][1], person.lesion))


def _named(brackets: Mapping[str, Any], person: _Person) -> str:
    meanings = {spec.name: spec.concept.meaning for spec in person.specs}
    return ", ".join(f"{name} ({meanings[name]})" if meanings[name].lower() != name else name for name in brackets)


def _of_lesions(
    answers: _Answers, contract: ModelContract, given: Given, patient: _Person, equations: Equations
) -> None:
    spec = contract.lesions
    if spec is None:
        return
    outcomes = [(output, value) for output, value in _outcomes(contract) if output.of_lesions]
    confirmed = [lesion for lesion in given.lesions if lesion.confirmed]
    for lesion in confirmed:
        values = {value.name: value for value in lesion.values}
        own = replace(given, values={**given.values, **values})
        person = _Person(
            specs=(*contract.features, *(each.spec for each in spec.features)),
            given=own,
            inputs=dict(patient.inputs),
            lesion=Lesion(lesion.tracking_id, lesion.tracking_uid),
        )
        _completed(person, own, equations)
        answers.notes += lesion_lines(spec, lesion, own, person.inputs)
        for output, value in outcomes:
            _answer(answers, output, value, person, equations)
    if confirmed:
        return
    reasons = dict.fromkeys(lesion.reason for lesion in given.lesions)
    counts = [(sum(lesion.reason == reason for lesion in given.lesions), reason) for reason in reasons]
    told = "; ".join(f"{count} x {spec.name}: {reason}" for count, reason in counts)
    reason = told or f"no {spec.name} is known: no verified report of the study measures one, and no model marked one"
    for output, value in outcomes:
        source = " ".join(equations.cited(each) for each in equations.equations if each.output == value.name)
        answers.classes.append(
            Classification(value.name, output.name, value.concept, Presence.NOT_EVALUATED, None, None, reason, source)
        )


def _beside(
    answers: _Answers, polygenic: Polygenic, patient: _Person, equations: Equations, contract: ModelContract
) -> None:
    """The polygenic score beside a risk, and, where the site has asked for it, the risk with it."""
    spec, found = polygenic.spec, patient.given.values.get(polygenic.spec.name)
    if found is None or found.state is not FeatureState.PRESENT:
        answers.notes.append(f"Polygenic score {polygenic.score}: {why(spec, patient.given)}.")
        return
    z = float(found.value or 0.0)
    how = f"{found.source} version {found.version[:12]}; by {found.transform}"
    answers.notes.append(f"Polygenic score {polygenic.score}: z = {z:+.2f}; {how}. It is no part of the risk.")
    base = next((each for each in answers.measurements if each.name == polygenic.output), None)
    if polygenic.per_sd is None or base is None:
        return
    equation = equations.choose(polygenic.output, patient.inputs)
    if equation is None or equation.form == "points":
        return
    risk = equations.probability(equation, patient.inputs, math.log(polygenic.per_sd) * z)
    concept = Code(f"{base.concept.value}-PGS"[:16], base.concept.scheme, f"{base.concept.meaning[:48]}, with score")
    method = (
        f"NOT VALIDATED: {polygenic.score} folded in as ln({polygenic.per_sd:g}) x {z:+.2f}, by {polygenic.source}; "
        f"that it is independent of the other inputs is assumed. {base.method}"
    )
    made = Measurement(f"{base.name}_with_score", concept, 100 * risk, base.unit, (), method=method)
    answers.measurements.append(made)
    answers.notes.append(f"{concept.meaning}: {100 * risk:.2f} %. {method}")


def _corners(brackets: Mapping[str, tuple[Value, ...]]) -> list[dict[str, Value]]:
    """Every way to take one of the values of each."""
    return [dict(zip(brackets, corner, strict=True)) for corner in itertools.product(*brackets.values())]


def _shares(equations: Equations, equation: Equation, inputs: Mapping[str, Value], lesion: Lesion | None) -> str:
    ranked = sorted(equations.contributions(equation, inputs), key=lambda each: -abs(each[1]))
    told = "; ".join(f"{name} {value:+.4f}" for name, value in ranked)
    of = f"{equation.output} of {lesion.tracking_id}" if lesion else equation.output
    what = "points" if equation.form == "points" else "linear predictor"
    return f"Contributions to the {what} of {of} ({equation.intercept:+.4f}), exact: {told}."
