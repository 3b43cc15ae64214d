"""A job's features -> findings: the risk, every input with its source and age, what was missing and what that does.

A risk is told as one number only where every input is known, or has a published default. Where inputs are bracketed the
answer is the interval, as "not evaluated"; where one that is needed is missing there is none, with its reason.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import FeatureState, Value, WhenMissing
from dicom_node.domain.finding import Classification, Findings, Measurement, Presence
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.output import ValueOutput, ValueSpec
from dicom_node.errors import ContractError
from workers.fusion.equations import Equation, Equations, read
from workers.fusion.given import Given, notes_of, why

FUSION = "fusion"  # the task of contracts whose configuration is equations


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
    refused = "; ".join(why(spec, given) for spec in missing if spec.missing is WhenMissing.REFUSE)
    brackets = {spec.name: spec.bracket for spec in missing if spec.bracket is not None}
    measurements: list[Measurement] = []
    classes: list[Classification] = []
    notes = list(notes_of(contract, given, inputs))
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


def _shares(equations: Equations, equation: Equation | None, inputs: Mapping[str, Value]) -> str:
    assert equation is not None  # noqa: S101  checked before
    ranked = sorted(equations.contributions(equation, inputs), key=lambda each: -abs(each[1]))
    told = "; ".join(f"{name} {value:+.4f}" for name, value in ranked)
    return f"Contributions to the linear predictor of {equation.output} ({equation.intercept:+.4f}), exact: {told}."
