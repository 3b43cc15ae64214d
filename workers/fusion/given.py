"""What a job was given of the patient's record and genome, and how the report tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import Feature, FeatureSpec, FeatureState, Value, WhenMissing
from dicom_node.errors import ContractError


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


def why(spec: FeatureSpec, given: Given) -> str:
    """Why there is no value, in words."""
    found = given.values.get(spec.name)
    state = found.state if found else FeatureState.MISSING
    return f"{spec.concept.meaning} is {state}" + (f": {found.reason}" if found and found.reason else "")


def notes_of(contract: ModelContract, given: Given, inputs: Mapping[str, Value]) -> list[str]:
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
    fault = why(spec, given)
    if spec.missing is WhenMissing.DEFAULT and inputs.get(spec.name) == spec.default:
        return f"Input {fault}; {_shown(spec.default, spec.unit)} was taken instead ({spec.source})."
    if inputs.get(spec.name) is not None:
        return f"Input {fault}; {_shown(inputs[spec.name], spec.unit)} follows from the other inputs."
    if spec.bracket is not None:
        low, high = (_shown(value, spec.unit) for value in spec.bracket)
        return f"Input {fault}; the answer is told for {low} and for {high} ({spec.source})."
    return f"Input {fault}; " + ("without it there is no answer." if spec.required else "the answer does without.")


def _shown(value: Value, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g} {unit}".strip() if isinstance(value, float | int) else str(value)
