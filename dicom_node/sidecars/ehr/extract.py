"""Resources -> features, by the mapping: pure.

Only what is final, amended or corrected is a value. What is told and cannot be used becomes a rejected feature with its
reason, so that the report can say it. A condition that nobody told is not told: nothing becomes false by silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dicom_node.domain.feature import BIRTH_DATE, SEX, Feature, FeatureState
from dicom_node.domain.finding import Code
from dicom_node.exchange.fhir import Resource, codes_in, is_to_the_day, moment
from dicom_node.sidecars.ehr.mapping import FeatureMapping, Source, scheme_of

OWN_RESULTS = "urn:dicom-node:result"  # identifier.system of what this node itself wrote: never an input
_FINAL = ("final", "amended", "corrected")
_TAKEN_BACK = ("entered-in-error", "cancelled")
_PRESCRIBED = ("active", "completed")
_UNSURE = ("unconfirmed", "provisional", "differential")
_ENDED = ("inactive", "remission", "resolved")


@dataclass
class Extract:
    """What resources of one patient say."""

    features: list[Feature] = field(default_factory=list)
    gone: dict[str, str] = field(default_factory=dict)  # source -> why it says nothing any more


def extract(resources: Iterable[Resource], mapping: FeatureMapping, system: str) -> Extract:
    """Features of resources of one patient; ``system`` names where they are from."""
    found = Extract()
    for resource in resources:
        source = f"fhir:{system}/{resource.reference}"
        if _is_own(resource.body):
            found.gone[source] = "a result of this node is no input"
        elif why := _taken_back(resource):
            found.gone[source] = why
        elif resource.type == "Patient":
            found.features += _person(resource, source)
        else:
            found.features += _TAKING[resource.type](resource, mapping, source)
    return found


def _is_own(body: Mapping[str, Any]) -> bool:
    return any(each.get("system") == OWN_RESULTS for each in body.get("identifier") or () if isinstance(each, Mapping))


def _taken_back(resource: Resource) -> str:
    status = resource.body.get("status")
    verification = {code for _, code, _ in codes_in(resource.body.get("verificationStatus"))}
    if status in _TAKEN_BACK and resource.type != "MedicationRequest":
        return f"its status is {status}"
    return "it was entered in error" if "entered-in-error" in {status, *verification} else ""


def _person(resource: Resource, source: str) -> Iterator[Feature]:
    """Birth date and sex, which hold at all times."""
    for name, key in ((BIRTH_DATE, "birthDate"), (SEX, "gender")):
        value = resource.body.get(key)
        if not value or value == "unknown":
            continue
        vague = name == BIRTH_DATE and not is_to_the_day(value)
        yield Feature(
            name=name,
            value=None if vague else str(value),
            unit="",
            state=FeatureState.REJECTED if vague else FeatureState.PRESENT,
            source=source,
            version=resource.version,
            recorded_at=resource.updated,
            transform=f"ehr:{name}",
            reason=f"{value} does not say the day" if vague else "",
        )


def _observation(resource: Resource, mapping: FeatureMapping, source: str) -> Iterator[Feature]:
    body = resource.body
    parts = [(body, source), *((part, source) for part in body.get("component") or ())]
    effective = body.get("effectiveDateTime") or body.get("effectiveInstant")
    period = body.get("effectivePeriod") or {}
    told_at = effective or period.get("end") or period.get("start")
    for part, where in parts:
        for entry, code in _wanted(mapping, "Observation", part.get("code")):
            made = _Draft(resource, entry, code, where, _at(told_at) if is_to_the_day(told_at) else None)
            yield _value(made, part, str(body["status"]))


def _value(made: _Draft, part: Mapping[str, Any], status: str) -> Feature:
    if status not in _FINAL:
        return made.rejected(f"its status is {status}", status)
    if made.at is None:
        return made.rejected("it does not say on which day it was so", status)
    if made.entry.values:
        return _answer(made, part, status)
    quantity = part.get("valueQuantity")
    if not isinstance(quantity, Mapping) or "value" not in quantity:
        return made.rejected("it holds no number", status)
    if quantity.get("comparator"):
        return made.rejected(f"it is a bound, {quantity['comparator']}{quantity['value']}, not a value", status)
    told = str(quantity.get("code") or quantity.get("unit") or "")
    value, unit, why = made.entry.converted(float(quantity["value"]), told)
    return made.rejected(why, status) if value is None else made.present(value, unit, status)


def _answer(made: _Draft, part: Mapping[str, Any], status: str) -> Feature:
    codes = codes_in(part.get("valueCodeableConcept"))
    answers = {made.entry.values.get((scheme_of(system), code)) for system, code, _ in codes} - {None}
    if len(answers) != 1:
        told = ", ".join(display or code for _, code, display in codes) or "nothing"
        return made.rejected(f"the answer is {told}, which the mapping does not know", status)
    return made.present(str(answers.pop()), "", status)


def _condition(resource: Resource, mapping: FeatureMapping, source: str) -> Iterator[Feature]:
    body = resource.body
    verification = {code for _, code, _ in codes_in(body.get("verificationStatus"))}
    clinical = {code for _, code, _ in codes_in(body.get("clinicalStatus"))}
    for entry, code in _wanted(mapping, "Condition", body.get("code")):
        onset = body.get("onsetDateTime") or (body.get("onsetPeriod") or {}).get("start") or body.get("recordedDate")
        made = _Draft(resource, entry, code, source, _at(onset))
        status = ", ".join(sorted(verification | clinical))
        if verification & {*_UNSURE}:
            yield made.rejected(f"it is {', '.join(sorted(verification))}", status)
        elif made.at is None:
            yield made.rejected("it does not say since when it is so", status)
        elif entry.active and clinical & {*_ENDED}:
            yield made.rejected(f"it is {', '.join(sorted(clinical))}", status)
        else:
            yield made.present("refuted" not in verification, "", status)


def _medication(resource: Resource, mapping: FeatureMapping, source: str) -> Iterator[Feature]:
    body = resource.body
    concept = body.get("medicationCodeableConcept") or (body.get("medication") or {}).get("concept")
    for entry, code in _wanted(mapping, "MedicationRequest", concept):
        made = _Draft(resource, entry, code, source, _at(body.get("authoredOn")))
        status = str(body["status"])
        if status not in _PRESCRIBED:
            yield made.rejected(f"the prescription is {status}", status)
        elif made.at is None:
            yield made.rejected("it does not say when it was prescribed", status)
        else:
            yield made.present(value=True, unit="", status=status)


def _family(resource: Resource, mapping: FeatureMapping, source: str) -> Iterator[Feature]:
    body = resource.body
    relationship = {code for _, code, _ in codes_in(body.get("relationship"))}
    for condition in body.get("condition") or ():
        for entry, code in _wanted(mapping, "FamilyMemberHistory", condition.get("code")):
            made = _Draft(resource, entry, code, source, _at(body.get("date")))
            status = str(body["status"])
            if entry.relatives and not relationship & {*entry.relatives}:
                continue
            if status == "health-unknown":
                yield made.rejected("the relative's health is not known", status)
            else:
                yield made.present(value=True, unit="", status=status)


_TAKING = {
    "Observation": _observation,
    "Condition": _condition,
    "MedicationRequest": _medication,
    "FamilyMemberHistory": _family,
}


@dataclass(frozen=True, slots=True)
class _Draft:
    """A feature but for its value."""

    resource: Resource
    entry: Source
    code: Code
    source: str
    at: datetime | None

    def present(self, value: float | str | bool, unit: str, status: str) -> Feature:
        return self._made(value, unit, FeatureState.PRESENT, status, "")

    def rejected(self, reason: str, status: str) -> Feature:
        return self._made(None, self.entry.unit, FeatureState.REJECTED, status, reason)

    def _made(self, value: float | str | bool | None, unit: str, state: FeatureState, status: str, why: str) -> Feature:
        return Feature(
            name=self.entry.name,
            value=value,
            unit=unit,
            state=state,
            code=self.code,
            effective_at=self.at,
            source=self.source,
            version=self.resource.version,
            recorded_at=self.resource.updated,
            transform=self.entry.transform,
            status=status,
            reason=why,
        )


def _wanted(mapping: FeatureMapping, from_type: str, concept: Any) -> Iterator[tuple[Source, Code]]:
    """The features that a concept makes, each once, with the code that says so."""
    codes = [(scheme_of(system), code, display) for system, code, display in codes_in(concept)]
    for entry in mapping.taking(from_type):
        for scheme, code, display in codes:
            if entry.takes(scheme, code):
                yield entry, Code(code, scheme, display or entry.title)
                break


def _at(text: Any) -> datetime | None:
    return moment(text)
