"""FHIR R4, R4B and R5 as JSON: bundles, NDJSON and single resources -> resources that are sound, or why they are not.

Every resource that is used is validated by fhir.resources, whose models do not enforce value sets, so the codes that
decide what a resource means are checked here besides. R4 is read by the models of R4B, which differ in resources that
are not used here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal

from dicom_node.errors import InputError

Release = Literal["R4", "R4B", "R5"]

_OBSERVATION = {
    "registered",
    "preliminary",
    "final",
    "amended",
    "corrected",
    "cancelled",
    "entered-in-error",
    "unknown",
}
_REQUEST = {"active", "on-hold", "cancelled", "completed", "entered-in-error", "stopped", "draft", "unknown"}
# Required bindings of the elements that decide what a resource means: hl7.org/fhir/R4 and R5, per resource.
_REQUIRED: Mapping[str, Mapping[str, set[str]]] = {
    "Patient": {"gender": {"male", "female", "other", "unknown"}},
    "Observation": {"status": _OBSERVATION},
    "MedicationRequest": {"status": {*_REQUEST, "ended"}},
    "FamilyMemberHistory": {"status": {"partial", "completed", "entered-in-error", "health-unknown"}},
    "Condition": {},
}
USED = tuple(_REQUIRED)
_VERIFICATION = {"unconfirmed", "provisional", "differential", "confirmed", "refuted", "entered-in-error"}
_STATUS_NEEDED = ("Observation", "MedicationRequest", "FamilyMemberHistory")
_PATIENT_IN = {"FamilyMemberHistory": "patient"}


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource that is sound."""

    type: str
    id: str
    body: Mapping[str, Any]
    patient: str = ""  # "Patient/<id>" it speaks of; of a Patient itself
    version: str = ""
    updated: datetime | None = None

    @property
    def reference(self) -> str:
        """How others name it: ``Observation/123``."""
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A resource that is not used, and why."""

    what: str
    reason: str


@dataclass
class Read:
    """What a document holds."""

    resources: list[Resource] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    other: int = 0  # resources of types that nothing is taken from


def read(data: bytes, name: str, release: Release = "R4") -> Read:
    """Read a bundle, a single resource, or NDJSON.

    Raises:
        InputError: it is none of them, cut off, or a bundle whose entries are no resources.
    """
    found = Read()
    for where, body, references in _bodies(data, name):
        kind = body.get("resourceType")
        if kind not in _REQUIRED:
            found.other += 1
            continue
        fault = fault_of(body, release)
        if fault:
            found.refused.append(Refusal(f"{where}: {kind}/{body.get('id', '?')}", fault))
        else:
            found.resources.append(resource_of(body, references))
    return found


def fault_of(body: Mapping[str, Any], release: Release = "R4") -> str:
    """Why a resource is not sound; empty when it is."""
    from pydantic import ValidationError

    kind = str(body["resourceType"])
    if not isinstance(body.get("id"), str):
        return "it has no id, so it cannot be told from others"
    try:
        _model(kind, release).model_validate(dict(body))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or kind
        return f"{at}: {str(first['msg']).removeprefix('Value error, ')}"
    except (
        ValueError,
        TypeError,
        AttributeError,
    ) as error:  # of the models, on values of another kind
        return f"not a {kind}: {error}"
    return _wrong_code(kind, body)


def _wrong_code(kind: str, body: Mapping[str, Any]) -> str:
    for key, allowed in _REQUIRED[kind].items():
        value = body.get(key)
        if value is None and key == "status" and kind in _STATUS_NEEDED:
            return "it has no status"
        if value is not None and value not in allowed:
            return f"{key} is {value!r}, none of {', '.join(sorted(allowed))}"
    if kind == "Condition":
        for code in codes_in(body.get("verificationStatus")):
            if code[1] not in _VERIFICATION:
                return f"verificationStatus is {code[1]!r}, none of {', '.join(sorted(_VERIFICATION))}"
    return ""


def resource_of(body: Mapping[str, Any], references: Mapping[str, str] | None = None) -> Resource:
    """The record of a sound resource; ``references``: full URL within its bundle -> ``Type/id``."""
    kind, meta = str(body["resourceType"]), body.get("meta") or {}
    subject = (body.get(_PATIENT_IN.get(kind, "subject")) or {}).get("reference", "")
    patient = f"Patient/{body['id']}" if kind == "Patient" else _plain(subject, references or {})
    updated = moment(meta.get("lastUpdated"))
    return Resource(kind, str(body["id"]), body, patient, str(meta.get("versionId", "")), updated)


def codes_in(concept: Any) -> list[tuple[str, str, str]]:
    """(system, code, display) of a CodeableConcept."""
    codings = concept.get("coding") or () if isinstance(concept, Mapping) else ()
    return [(c.get("system", ""), c["code"], c.get("display", "")) for c in codings if isinstance(c.get("code"), str)]


def moment(text: Any, zone: tzinfo = UTC) -> datetime | None:
    """A FHIR date or time, aware; a date alone is its beginning in ``zone``. None: there is none."""
    if not isinstance(text, str) or not text:
        return None
    whole = text + {4: "-01-01", 7: "-01"}.get(len(text), "")
    found = datetime.fromisoformat(whole.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=zone)


def is_to_the_day(text: Any) -> bool:
    """Whether a FHIR date or time says the day at least."""
    return isinstance(text, str) and len(text) >= 10


def _model(kind: str, release: Release) -> Any:
    if release == "R5":
        from fhir.resources import get_fhir_model_class
    else:
        from fhir.resources.R4B import get_fhir_model_class
    return get_fhir_model_class(kind)


def _bodies(data: bytes, name: str) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, str]]]:
    text = _text(data, name)
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        if "\n" not in text.strip():
            raise InputError(f"{name}: not JSON: {error}", reason="not-fhir") from error
        yield from _lines(text, name)
        return
    if not isinstance(tree, dict) or "resourceType" not in tree:
        raise InputError(f"{name}: JSON, but no FHIR resource", reason="not-fhir")
    if tree["resourceType"] != "Bundle":
        yield name, tree, {}
        return
    entries = tree.get("entry") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{name}: a bundle whose entries are none", reason="not-fhir")
    references = _references(entries)
    for number, entry in enumerate(entries, start=1):
        body = entry.get("resource")
        if isinstance(body, dict) and (entry.get("search") or {}).get("mode") != "outcome":
            yield f"{name}, entry {number}", body, references


def _lines(text: str, name: str) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            body = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{name}, line {number}: not JSON: {error}", reason="not-fhir") from error
        if not isinstance(body, dict) or "resourceType" not in body:
            raise InputError(f"{name}, line {number}: no FHIR resource", reason="not-fhir")
        yield f"{name}, line {number}", body, {}


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8: {error}", reason="not-fhir") from error


def _references(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found = {}
    for entry in entries:
        body = entry.get("resource")
        if isinstance(body, dict) and "id" in body and isinstance(entry.get("fullUrl"), str):
            found[entry["fullUrl"]] = f"{body.get('resourceType')}/{body['id']}"
    return found


def _plain(reference: Any, references: Mapping[str, str]) -> str:
    """``Patient/123`` of a reference in whatever form; empty: it is to no Patient."""
    if not isinstance(reference, str):
        return ""
    told = references.get(reference, reference).split("/_history/")[0]
    parts = told.split("/")
    return "/".join(parts[-2:]) if len(parts) >= 2 and parts[-2] == "Patient" else ""
