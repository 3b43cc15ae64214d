"""A job's features -> the numbers that a network takes beside its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import FeatureState, Value, WhenMissing, numbers
from workers.fusion.given import Given, notes_of, why


@dataclass(frozen=True, slots=True)
class Vector:
    """What a network is given."""

    numbers: tuple[float, ...]  # as dicom_node.domain.feature.numbers has them
    refused: str  # why the model does not answer; empty where it does
    notes: tuple[str, ...]  # the record that was used, and each input, for the report


NONE = Vector((), "", ())


def vector(contract: ModelContract, told: Mapping[str, Any] | None) -> Vector:
    """Of what a job was given (its column ``features``), as its model asks for; nothing where it asks for none.

    Raises:
        ContractError: the job was planned before its model asked for features.
    """
    if not contract.features:
        return NONE
    given = Given.of(told)
    inputs: dict[str, Value] = {
        name: each.value for name, each in given.values.items() if each.state is FeatureState.PRESENT
    }
    missing = [spec for spec in contract.features if inputs.get(spec.name) is None]
    inputs |= {spec.name: spec.default for spec in missing if spec.missing is WhenMissing.DEFAULT}
    refused = "; ".join(why(spec, given) for spec in missing if spec.required)
    return Vector(numbers(contract.features, inputs), refused, tuple(notes_of(contract, given, inputs)))
