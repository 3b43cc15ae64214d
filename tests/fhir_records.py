"""FHIR documents made for tests: one patient, with what a test says of them."""

from __future__ import annotations

import json
from typing import Any

MRN = "urn:oid:1.2.3.4"
LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def patient(number: str = "P1", id_: str = "a", **more: Any) -> dict[str, Any]:
    """A Patient with a number of the hospital."""
    told = {
        "resourceType": "Patient",
        "id": id_,
        "identifier": [{"system": MRN, "value": number}],
        "name": [{"family": "Doe", "given": ["Jane"]}],
        "gender": "female",
        "birthDate": "1964-03-01",
    }
    return {key: value for key, value in {**told, **more}.items() if value is not None}


def concept(code: str, system: str = LOINC) -> dict[str, Any]:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code}]}


def observation(code: str, value: float, unit: str, id_: str = "o1", **more: Any) -> dict[str, Any]:
    """A final Observation with a number."""
    told = {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": concept(code),
        "subject": {"reference": "Patient/a"},
        "effectiveDateTime": "2026-02-01T08:00:00Z",
        "valueQuantity": {"value": value, "code": unit, "system": "http://unitsofmeasure.org"},
    }
    return {key: value for key, value in {**told, **more}.items() if value is not None}


def condition(code: str, id_: str = "c1", verification: str = "confirmed", **more: Any) -> dict[str, Any]:
    """A Condition."""
    told = {
        "resourceType": "Condition",
        "id": id_,
        "clinicalStatus": concept("active", "http://terminology.hl7.org/CodeSystem/condition-clinical"),
        "verificationStatus": concept(verification, "http://terminology.hl7.org/CodeSystem/condition-ver-status"),
        "code": concept(code, SNOMED),
        "subject": {"reference": "Patient/a"},
        "onsetDateTime": "2015-06-01",
    }
    return {key: value for key, value in {**told, **more}.items() if value is not None}


def bundle(*resources: dict[str, Any]) -> bytes:
    """A collection of them."""
    entries = [{"fullUrl": f"urn:x:{each['resourceType']}/{each.get('id')}", "resource": each} for each in resources]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()


def ndjson(*resources: dict[str, Any]) -> bytes:
    """One a line."""
    return "".join(json.dumps(each) + "\n" for each in resources).encode()
