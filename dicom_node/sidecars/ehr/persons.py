"""A Patient resource -> who it is, in DICOM's words, and by which numbers of the site's issuers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dicom_node.archive.features import PatientRecord
from dicom_node.ehr_settings import EhrSettings
from dicom_node.exchange.fhir import Resource, is_to_the_day

_SEX = {"female": "F", "male": "M", "other": "O"}


def numbers_of(patient: Resource, settings: EhrSettings) -> tuple[tuple[tuple[str, str], ...], str]:
    """(issuer, number) pairs of a Patient, one an issuer; or none and why not."""
    found: dict[str, str] = {}
    for each in patient.body.get("identifier") or ():
        issuer, number = settings.issuer_of(str(each.get("system", ""))), str(each.get("value", "")).strip()
        if not issuer or not number:
            continue
        if found.setdefault(issuer, number) != number:
            return (), f"it has two numbers of {issuer}; which counts nobody can tell"
    if not found:
        return (), "it has no number of a system that [[ehr.identifiers]] names"
    return tuple(sorted(found.items())), ""


def record_of(patient: Resource, system: str) -> PatientRecord:
    """How the record describes the patient."""
    return PatientRecord(system, patient.reference, _attributes(patient.body), _standing(patient.body))


def _attributes(body: Mapping[str, Any]) -> dict[str, str]:
    birth = body.get("birthDate")
    told = {
        "PatientName": _name(body.get("name") or ()),
        "PatientBirthDate": str(birth)[:10].replace("-", "") if is_to_the_day(birth) else "",
        "PatientSex": _SEX.get(str(body.get("gender", "")), ""),
    }
    return {keyword: value for keyword, value in told.items() if value}


def _name(names: Any) -> str:
    """The official name, or the first, as DICOM writes it."""
    ranked = sorted(names, key=lambda name: name.get("use") != "official")
    if not ranked:
        return ""
    family, given = ranked[0].get("family", ""), " ".join(ranked[0].get("given") or ())
    return f"{family}^{given}".strip("^").replace("\\", " ").replace("=", " ")


def _standing(body: Mapping[str, Any]) -> str:
    links = {link.get("type") for link in body.get("link") or ()}
    return "replaced" if "replaced-by" in links else "current"
