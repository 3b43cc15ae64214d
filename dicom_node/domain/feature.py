"""Features: what a patient's record or genome says, one value each, and which of several a model gets.

A feature keeps where it is from, when it held, and how it was taken from its source, all the way into the report. One
that cannot be used is kept too, with the reason: what is missing is told, never filled in silently.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from dicom_node.domain.finding import Code

Value = float | str | bool | None

BIRTH_DATE = "birth_date"  # ISO 8601 text; models ask for AGE, which is taken from it at the time that counts
AGE = "age"
SEX = "sex"  # "female", "male", "other"
YEAR = Code("a", "UCUM", "year")
_DAYS_A_YEAR = 365.2425


class FeatureState(StrEnum):
    """Whether a value may be used."""

    PRESENT = "present"
    MISSING = "missing"  # nothing was ever told; no statement that it is not so
    STALE = "stale"  # told too long ago for who asks
    REJECTED = "rejected"  # told, and not usable: unit, range, status
    CONFLICT = "conflict"  # told twice for the same time, and not the same


class WhenMissing(StrEnum):
    """What a model does without a value."""

    REFUSE = "refuse"  # it does not answer
    DEFAULT = "default"  # the published default counts, and the answer says so
    BRACKET = "bracket"  # it answers for the lowest and the highest plausible value
    OMIT = "omit"  # it answers without: a variant of it, or a mask, does not need the value


@dataclass(frozen=True, slots=True)
class Feature:
    """One value."""

    name: str  # of the mapping that took it, e.g. "egfr"; "birth_date", "sex" of every patient
    value: Value  # number, text of a declared set, or truth; None: there is none
    unit: str  # UCUM; empty: it has none
    state: FeatureState
    code: Code | None = None  # as its source codes it
    effective_at: datetime | None = None  # when it held, aware; None: it holds at all times
    source: str = (
        ""  # what said so: "fhir:epic/Observation/123", "hl7:LAB|FAC|MSG1/OBX-3", "vcf:<sha256>#chr9:22125503"
    )
    version: str = ""  # of that source
    recorded_at: datetime | None = None  # when its source wrote this version, aware
    transform: str = ""  # what took it from the source, with its version: "ehr/1:egfr"
    status: str = ""  # as its source has it: final, amended, corrected …
    reason: str = ""  # why it cannot be used

    def __post_init__(self) -> None:
        for name in ("effective_at", "recorded_at"):
            at = getattr(self, name)
            if at is not None and at.tzinfo is None:
                raise ValueError(f"{name} must be aware")
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise ValueError("a value must be finite")
        if self.state is FeatureState.PRESENT and self.value is None:
            raise ValueError("a feature that is present has a value")

    def as_json(self) -> dict[str, Any]:
        """What the ledger keeps, and a job is given."""
        code = self.code
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "state": str(self.state),
            "code": [code.value, code.scheme, code.meaning] if code else None,
            "effective_at": self.effective_at.isoformat() if self.effective_at else None,
            "source": self.source,
            "version": self.version,
            "recorded_at": self.recorded_at.isoformat() if self.recorded_at else None,
            "transform": self.transform,
            "status": self.status,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Feature:
        """The record that ``as_json`` wrote."""
        value = told["value"]
        times = {
            name: datetime.fromisoformat(told[name]) if told[name] else None for name in ("effective_at", "recorded_at")
        }
        return cls(
            name=told["name"],
            value=float(value) if isinstance(value, int) and not isinstance(value, bool) else value,
            unit=told["unit"],
            state=FeatureState(told["state"]),
            code=Code(*told["code"]) if told["code"] else None,
            source=told["source"],
            version=told["version"],
            transform=told["transform"],
            status=told["status"],
            reason=told["reason"],
            **times,
        )

    def age_days(self, at: datetime) -> float | None:
        """How old the value was at that time; None: it holds at all times."""
        return None if self.effective_at is None else (at - self.effective_at) / timedelta(days=1)


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What a model asks for: ``[[features]]`` of its contract."""

    name: str  # by which the mapping and the model know it
    concept: Code  # how the report names it
    unit: str = ""  # UCUM; a value in another one is no value
    at_least: float | None = None  # plausible for this model; outside it a value is no value
    at_most: float | None = None
    one_of: tuple[str, ...] = ()  # texts that count; empty: it is a number, or true or false
    lookback_days: float | None = None  # an older value is no value; None: of any age
    missing: WhenMissing = WhenMissing.REFUSE
    default: Value = None  # with DEFAULT
    bracket: tuple[Value, ...] | None = None  # with BRACKET: lowest and highest, or all that a text may be
    source: str = ""  # citation of the default or the bracket
    wait_s: float = 0.0  # how long it is waited for after the images are here
    model: str = ""  # whose finding on the same study it is; empty: the patient's record or genome says it
    finding: str = ""  # of that model, by the name in its contract

    @property
    def required(self) -> bool:
        """Whether the model does not answer without it."""
        return self.missing is WhenMissing.REFUSE


def choose(spec: FeatureSpec, told: Iterable[Feature], at: datetime) -> Feature:
    """The value that counts at ``at``: the newest usable one that held by then, or why there is none.

    What was effective later than ``at`` does not exist yet for who asks. Of several for the same time that are not the
    same, none counts.
    """
    known = [f for f in told if f.name == spec.name and (f.effective_at is None or f.effective_at <= at)]
    usable = [f for f in known if f.state is FeatureState.PRESENT]
    if not usable:
        return _unusable(spec, known)
    newest = max(map(_when, usable))
    latest = [f for f in usable if _when(f) == newest]
    found = max(latest, key=lambda f: (f.source, f.version))
    if any((f.value, f.unit) != (found.value, found.unit) for f in latest):
        values = " and ".join(sorted({_said(f) for f in latest}))
        return replace(found, state=FeatureState.CONFLICT, reason=f"told for the same time: {values}")
    return _judged(spec, found, at)


def _unusable(spec: FeatureSpec, known: Sequence[Feature]) -> Feature:
    if known:
        return max(known, key=_when)
    return Feature(spec.name, None, spec.unit, FeatureState.MISSING, reason="not in what is known of the patient")


def _judged(spec: FeatureSpec, found: Feature, at: datetime) -> Feature:
    """The value, with its state for who asks."""
    fault = unfit(spec, found)
    if fault:
        return replace(found, state=FeatureState.REJECTED, reason=fault)
    age = found.age_days(at)
    if age is not None and spec.lookback_days is not None and age > spec.lookback_days:
        reason = f"{age:.0f} days old, more than {spec.lookback_days:g}"
        return replace(found, state=FeatureState.STALE, reason=reason)
    return found


def unfit(spec: FeatureSpec, found: Feature) -> str:
    """Why a value is none for this model: its kind, unit or size; empty when it fits."""
    value = found.value
    if spec.one_of:
        return "" if value in spec.one_of else f"{value!r} is none of {', '.join(spec.one_of)}"
    if isinstance(value, str) or value is None:
        return f"{value!r} is no number"
    if found.unit != spec.unit:
        return f"its unit is {found.unit or 'none'}, not {spec.unit or 'none'}"
    if not isinstance(value, bool):
        if spec.at_least is not None and value < spec.at_least:
            return f"{value:g} is below {spec.at_least:g}"
        if spec.at_most is not None and value > spec.at_most:
            return f"{value:g} is above {spec.at_most:g}"
    return ""


def age_at(birth: Feature, at: datetime) -> Feature:
    """Age in years, from the date of birth."""
    if birth.state is not FeatureState.PRESENT:
        return replace(birth, name=AGE, value=None, unit=YEAR.value)
    born = datetime.fromisoformat(str(birth.value)).replace(tzinfo=at.tzinfo)
    years = round((at - born) / timedelta(days=1) / _DAYS_A_YEAR, 2)
    return replace(birth, name=AGE, value=years, unit=YEAR.value, effective_at=at, transform=f"{birth.transform}, age")


def numbers(specs: Sequence[FeatureSpec], values: Mapping[str, Value]) -> tuple[float, ...]:
    """What a network takes beside its images: each feature's number, then for each 1 where it is known, else 0.

    A truth is 0 or 1. A text is a number for each of ``one_of``, 1 where it is that one. What is not among ``values``,
    by name, is not known, and 0.
    """
    told = [number for spec in specs for number in _numbers(spec, values.get(spec.name))]
    return (*told, *(float(values.get(spec.name) is not None) for spec in specs))


def plausible(spec: FeatureSpec) -> Value:
    """A value of no patient: the middle of what is plausible, or the first text that counts."""
    if spec.one_of:
        return spec.one_of[0]
    bounds = [bound for bound in (spec.at_least, spec.at_most) if bound is not None]
    return sum(bounds) / len(bounds) if bounds else 0.0


class Told(Protocol):
    """What has a form as plain data."""

    def as_json(self) -> dict[str, Any]:
        """That form."""


def digest(features: Sequence[Feature], lesions: Sequence[Told] = ()) -> str:
    """SHA-256 over what a job is given; equal exactly when features and lesions are, features in whatever order."""
    told = sorted((feature.as_json() for feature in features), key=lambda each: str(each["name"]))
    told += [lesion.as_json() for lesion in lesions]
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _numbers(spec: FeatureSpec, value: Value) -> list[float]:
    if spec.one_of:
        return [float(value == text) for text in spec.one_of]
    return [float(value) if isinstance(value, bool | int | float) else 0.0]


def _when(feature: Feature) -> float:
    return math.inf if feature.effective_at is None else feature.effective_at.timestamp()


def _said(feature: Feature) -> str:
    shown = f"{feature.value:g}" if isinstance(feature.value, float) else str(feature.value)
    return f"{shown} {feature.unit}".strip()
