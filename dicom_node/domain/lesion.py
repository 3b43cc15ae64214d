"""Lesions that a model judges one by one: what they are recognised by, and what is known of each.

What a model marked is a candidate. A lesion counts once a person has said that it is one: by accepting the result that
holds it, or in a report that a person has verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.domain.feature import Feature, FeatureSpec, Value
from dicom_node.domain.finding import Code

Key = tuple[str, str]  # value and scheme of a code, which are what is compared; meanings are words


def key_of(text: str) -> Key:
    """``SCHEME value`` as value and scheme.

    Raises:
        ValueError: it is not two words.
    """
    scheme, _, value = text.partition(" ")
    if not scheme or not value or " " in value:
        raise ValueError(f"{text!r} is no code: write SCHEME CODE, e.g. SCT 27925004")
    return value, scheme


@dataclass(frozen=True, slots=True)
class LesionFeature:
    """What is asked of each lesion: ``[[lesions.features]]``."""

    spec: FeatureSpec
    codes: tuple[Key, ...] = ()  # concepts of numbers, or of answers; none: the answer alone tells
    units: tuple[tuple[str, float], ...] = ()  # UCUM unit -> factor to that of ``spec``
    answers: tuple[tuple[Key, Value], ...] = ()  # code that is answered -> value
    counted: bool = False  # it is the number of lesions that the same source tells of


@dataclass(frozen=True, slots=True)
class LesionSpec:
    """Which lesions a model judges: ``[lesions]`` of its contract."""

    name: str  # in the words of the report: "nodule"
    concept: Code
    models: tuple[str, ...]  # whose detections are such lesions, where they are accepted
    findings: tuple[Key, ...]  # by which a measurement group of a report is known to be of one
    features: tuple[LesionFeature, ...]


@dataclass(frozen=True, slots=True)
class KnownLesion:
    """One lesion, and what its source says of it."""

    tracking_id: str
    tracking_uid: str
    source: str  # "job 12", "report 1.2.3"
    confirmed: str  # who said that it is one; empty: nobody
    reason: str  # why it does not count; empty: it does
    values: tuple[Feature, ...]

    def as_json(self) -> dict[str, Any]:
        """What a job is given."""
        told = {name: getattr(self, name) for name in ("tracking_id", "tracking_uid", "source", "confirmed", "reason")}
        return {**told, "values": [value.as_json() for value in self.values]}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> KnownLesion:
        """The record that ``as_json`` wrote."""
        return cls(**{**told, "values": tuple(Feature.from_json(each) for each in told["values"])})


@dataclass(frozen=True, slots=True)
class Said:
    """What a source says of one lesion, as it is coded there."""

    numbers: Sequence[tuple[Key, float, str, str]]  # concept, value, UCUM unit, meaning
    answers: Sequence[tuple[Key, Key, str]]  # concept, answer, meaning of the answer
