"""What a job was given of the patient's record and genome, and how the report tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import Feature, FeatureSpec, FeatureState, Value, WhenMissing, unfit
from dicom_node.domain.lesion import KnownLesion, LesionSpec
from dicom_node.errors import ConfigurationError, ContractError


@dataclass(frozen=True, slots=True)
class Given:
    """What a job was given."""

    at: datetime
    matched: bool
    reason: str  # why the record is, or is not, that of the images
    values: Mapping[str, Feature]
    trouble: str = ""  # what could not be asked for, or read
    lesions: tuple[KnownLesion, ...] = ()

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
        lesions = tuple(KnownLesion.from_json(each) for each in told.get("lesions", ()))
        return cls(at, bool(match["matched"]), match["reason"], named, match.get("trouble", ""), lesions)


def with_declared(contract: ModelContract, given: Given, parameters: Mapping[str, Any]) -> Given:
    """With what the rule declares of all its patients (``parameters.inputs``), e.g. the region of a score.

    Raises:
        ConfigurationError: it declares what the model does not ask for, or a value that is none.
    """
    specs = {spec.name: spec for spec in contract.features}
    declared = {}
    for name, value in parameters.get("inputs", {}).items():
        spec = specs.get(name)
        if spec is None:
            raise ConfigurationError(
                f"{contract.name} does not ask for {name!r}",
                key="parameters.inputs",
                remedy=f"it asks: {', '.join(specs)}",
            )
        told = float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        made = Feature(name, told, spec.unit, FeatureState.PRESENT, source="rule", transform="as the rule declares")
        if fault := unfit(spec, made):
            raise ConfigurationError(fault, key=f"parameters.inputs.{name}")
        declared[name] = made
    return replace(given, values={**given.values, **declared})


def why(spec: FeatureSpec, given: Given) -> str:
    """Why there is no value, in words."""
    found = given.values.get(spec.name)
    state = found.state if found else FeatureState.MISSING
    return f"{spec.concept.meaning} is {state}" + (f": {found.reason}" if found and found.reason else "")


def notes_of(contract: ModelContract, given: Given, inputs: Mapping[str, Value]) -> list[str]:
    """The record that was used, and each input in a line of its own."""
    used = "The patient's record was used" if given.matched else "The patient's record was not used"
    asked = [f"Not everything could be asked for or read: {given.trouble}."] if given.trouble else []
    return [f"{used}: {given.reason}.", *asked, *(_line(spec, given, inputs) for spec in contract.features)]


def lesion_lines(spec: LesionSpec, lesion: KnownLesion, given: Given, inputs: Mapping[str, Value]) -> list[str]:
    """One lesion: where it is from and who has confirmed it, and each input in a line of its own."""
    head = f"{spec.concept.meaning} {lesion.tracking_id}: {lesion.source}, confirmed by {lesion.confirmed}."
    own = [_line(each.spec, given, inputs, f" of {lesion.tracking_id}") for each in spec.features]
    return [head, *own]


def _line(spec: FeatureSpec, given: Given, inputs: Mapping[str, Value], of: str = "") -> str:
    found = given.values.get(spec.name)
    if found is not None and found.state is FeatureState.PRESENT:
        age = found.age_days(given.at)
        when = f"of {found.effective_at:%Y-%m-%d}, {age:.0f} days old" if found.effective_at and age else "of always"
        source = f"{found.source}" + (f" version {found.version}" if found.version else "")
        told = f"Input {spec.concept.meaning}{of}: {_shown(found.value, found.unit)}"
        return f"{told}; {when}; {source}; by {found.transform}."
    fault = why(spec, given).replace(spec.concept.meaning, f"{spec.concept.meaning}{of}", 1)
    if spec.missing is WhenMissing.DEFAULT and inputs.get(spec.name) == spec.default:
        return f"Input {fault}; {_shown(spec.default, spec.unit)} was taken instead ({spec.source})."
    if inputs.get(spec.name) is not None:
        return f"Input {fault}; {_shown(inputs[spec.name], spec.unit)} follows from the other inputs."
    if spec.bracket is not None:
        told = " and for ".join(_shown(value, spec.unit) for value in spec.bracket)
        return f"Input {fault}; the answer is told for {told} ({spec.source})."
    return f"Input {fault}; " + ("without it there is no answer." if spec.required else "the answer does without.")


def _shown(value: Value, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g} {unit}".strip() if isinstance(value, float | int) else str(value)
