"""A job's features -> findings: the risk, every input with its source and age, what was missing and what that does.

A risk is told as one number only where every input is known, or has a published default. Where inputs are bracketed the
answer is the interval, as "not evaluated"; where one that is needed is missing there is none, with its reason.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import Feature, FeatureSpec, FeatureState, Value, WhenMissing
from dicom_node.domain.finding import Classification, Findings, Measurement, Presence
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.output import ValueOutput, ValueSpec
from dicom_node.errors import ContractError
from workers.fusion.equations import Equation, Equations, read

FUSION = "fusion"  # the task of contracts whose configuration is equations


@dataclass(frozen=True, slots=True)
class Given:
    """What a job was given."""

    at: datetime
    matched: bool
    reason: str  # why the record is, or is not, that of the images
    values: Mapping[str, Feature]
    trouble: str = ""  # what of the record could not be asked for

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> Given:
        """The column ``features`` of a job.

        Raises:
            ContractError: the job was planned before its model asked for features.
        """
        if told is None:
            raise ContractError(
                "the job holds no features", reason="no-features", remedy="have the study looked at again by the rules"
            )
        values = [Feature.from_json(each) for each in told["values"]]
        match = told["match"]
        at = datetime.fromisoformat(told["at"])
        named = {each.name: each for each in values}
        return cls(at, bool(match["matched"]), match["reason"], named, match.get("trouble", ""))


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the equations say."""

    measurements: tuple[Measurement, ...]
    classes: tuple[Classification, ...]  # outcomes that are not evaluated
    notes: tuple[str, ...]


def assess(contract: ModelContract, told: Mapping[str, Any] | None) -> Assessment:
    """The outcomes of a model of the task ``fusion``.

    Raises:
        ContractError: its equations are broken, or take what the contract does not ask for.
    """
    equations = equations_of(contract)
    given = Given.of(told)
    known: dict[str, Value] = {
        name: each.value for name, each in given.values.items() if each.state is FeatureState.PRESENT
    }
    inputs = equations.completed(known)
    missing = [spec for spec in contract.features if inputs.get(spec.name) is None]
    inputs |= {spec.name: spec.default for spec in missing if spec.missing is WhenMissing.DEFAULT}
    refused = "; ".join(_why(spec, given) for spec in missing if spec.missing is WhenMissing.REFUSE)
    brackets = {spec.name: spec.bracket for spec in missing if spec.bracket is not None}
    measurements: list[Measurement] = []
    classes: list[Classification] = []
    notes = list(_notes(contract, given, inputs))
    for output, spec in _outcomes(contract):
        if refused:
            classes.append(_not_evaluated(output, spec, refused, equations))
            continue
        corners = [inputs | corner for corner in _corners(brackets)]
        found = [(equations.choose(spec.name, corner), corner) for corner in corners]
        try:
            risks = [equations.probability(equation, corner) for equation, corner in found if equation is not None]
        except (ValueError, ArithmeticError) as error:
            classes.append(_not_evaluated(output, spec, f"an input has no place in the equation: {error}", equations))
            continue
        if len(risks) < len(found):
            classes.append(_not_evaluated(output, spec, "no equation holds for these inputs", equations))
        elif brackets:
            between = f"between {100 * min(risks):.2f} and {100 * max(risks):.2f} %, since {', '.join(brackets)} "
            classes.append(_not_evaluated(output, spec, between + "is not known", equations))
        else:
            method = f"{spec.method} {equations.source}".strip()
            measurements.append(Measurement(spec.name, spec.concept, 100 * risks[0], spec.unit, (), method=method))
            notes.append(_shares(equations, found[0][0], inputs))
    return Assessment(tuple(measurements), tuple(classes), tuple(notes))


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
    asked, outputs = {spec.name for spec in contract.features}, {spec.name for _, spec in _outcomes(contract)}
    if unknown := sorted(equations.inputs - asked):
        raise ContractError(f"the equations take {', '.join(unknown)}, which [[features]] does not ask for", file=file)
    if unknown := sorted(outputs - {equation.output for equation in equations.equations}):
        raise ContractError(f"no equation yields {', '.join(unknown)}", file=file)
    return equations


def _outcomes(contract: ModelContract) -> Sequence[tuple[str, ValueSpec]]:
    return [
        (output.name, spec) for output in contract.outputs if isinstance(output, ValueOutput) for spec in output.values
    ]


def _corners(brackets: Mapping[str, tuple[Value, Value]]) -> list[dict[str, Value]]:
    """Every way to take the lower or the upper value of each."""
    return [dict(zip(brackets, corner, strict=True)) for corner in itertools.product(*brackets.values())]


def _not_evaluated(output: str, spec: ValueSpec, reason: str, equations: Equations) -> Classification:
    return Classification(
        spec.name, output, spec.concept, Presence.NOT_EVALUATED, None, None, reason, source=equations.source
    )


def _why(spec: FeatureSpec, given: Given) -> str:
    found = given.values.get(spec.name)
    state = found.state if found else FeatureState.MISSING
    return f"{spec.concept.meaning} is {state}" + (f": {found.reason}" if found and found.reason else "")


def _notes(contract: ModelContract, given: Given, inputs: Mapping[str, Value]) -> list[str]:
    """The record that was used, and each input in a line of its own."""
    used = "The patient's record was used" if given.matched else "The patient's record was not used"
    asked = [f"Not all of the record could be asked for: {given.trouble}."] if given.trouble else []
    return [f"{used}: {given.reason}.", *asked, *(_line(spec, given, inputs) for spec in contract.features)]


def _line(spec: FeatureSpec, given: Given, inputs: Mapping[str, Value]) -> str:
    found = given.values.get(spec.name)
    if found is not None and found.state is FeatureState.PRESENT:
        age = found.age_days(given.at)
        when = f"of {found.effective_at:%Y-%m-%d}, {age:.0f} days old" if found.effective_at and age else "of always"
        source = f"{found.source}" + (f" version {found.version}" if found.version else "")
        return (
            f"Input {spec.concept.meaning}: {_shown(found.value, found.unit)}; {when}; {source}; by {found.transform}."
        )
    why = _why(spec, given)
    if spec.missing is WhenMissing.DEFAULT and inputs.get(spec.name) == spec.default:
        return f"Input {why}; {_shown(spec.default, spec.unit)} was taken instead ({spec.source})."
    if inputs.get(spec.name) is not None:
        return f"Input {why}; {_shown(inputs[spec.name], spec.unit)} follows from the other inputs."
    if spec.bracket is not None:
        low, high = (_shown(value, spec.unit) for value in spec.bracket)
        return f"Input {why}; the answer is told for {low} and for {high} ({spec.source})."
    return f"Input {why}; " + ("without it there is no answer." if spec.required else "the answer does without.")


def _shares(equations: Equations, equation: Equation | None, inputs: Mapping[str, Value]) -> str:
    assert equation is not None  # noqa: S101  checked before
    ranked = sorted(equations.contributions(equation, inputs), key=lambda each: -abs(each[1]))
    told = "; ".join(f"{name} {value:+.4f}" for name, value in ranked)
    return f"Contributions to the linear predictor of {equation.output} ({equation.intercept:+.4f}), exact: {told}."


def _shown(value: Value, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g} {unit}".strip() if isinstance(value, float | int) else str(value)
