"""A result -> FHIR R4: a transaction that makes or renews DiagnosticReport, Observation, RiskAssessment, Provenance.

Each resource is named by an identifier of ours that is the same each time, and put by it (conditional update): sending
again changes nothing, however often. The ImagingStudy, which others may keep too, is only made where there is none.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dicom_node.archive.result_views import ReportStatus, ResultView
from dicom_node.domain.identifiers import IMPLEMENTATION_VERSION_NAME, uid_from_uuid

UIDS = "urn:dicom:uid"
_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
}
_PRESENCE = {
    "present": {"system": _SYSTEMS["SCT"], "code": "52101004", "display": "Present"},
    "absent": {"system": _SYSTEMS["SCT"], "code": "2667000", "display": "Absent"},
}
_CATEGORY = [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}]}]
_RADIOLOGY = [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}]
_OUTCOMES = "RISK-"  # how codes of risks begin, beside those that DICOM has
_RISKS = frozenset({("111047", "DCM"), ("122230", "DCM")})
_GENOMIC = ("Polygenic score ", "vcf:", "NOT VALIDATED: PGS")


@dataclass(frozen=True, slots=True)
class Told:
    """How a destination is told."""

    subject: Mapping[str, Any]  # Reference to the patient
    genomic: bool = False  # values of the genome, and what they change, go too


@dataclass
class _Entries:
    view: ResultView
    told: Told
    entries: list[dict[str, Any]] = field(default_factory=list)

    def put(self, kind: str, what: str, resource: dict[str, Any]) -> dict[str, str]:
        """A resource under its identifier; the reference by which others of the transaction name it."""
        uid = self.view.uid(f"{kind} {what}")
        own = {"system": UIDS, "value": f"urn:oid:{uid}"}
        url = f"urn:uuid:{_uuid(uid)}"
        request = {"method": "PUT", "url": f"{kind}?identifier={UIDS}|urn:oid:{uid}"}
        self.entries.append(
            {"fullUrl": url, "resource": {"resourceType": kind, "identifier": [own], **resource}, "request": request}
        )
        return {"reference": url}


def report_identifier(view: ResultView) -> str:
    """The identifier of its DiagnosticReport."""
    return f"urn:oid:{view.uid('DiagnosticReport report')}"


def transaction(view: ResultView, told: Told) -> dict[str, Any]:
    """The Bundle that tells a server of a result."""
    made = _Entries(view, told)
    imaging = _imaging_study(made)
    results, risks = [], []
    for number, row in enumerate(_rows(view, told), start=1):
        reference = made.put("Observation", f"{number} {row['name']}", _observation(view, told, row))
        results.append(reference)
        if _is_risk(row):
            risks.append(made.put("RiskAssessment", f"{number} {row['name']}", _risk(view, told, row, reference)))
    report = made.put("DiagnosticReport", "report", _report(view, told, imaging, results))
    made.entries.append(_provenance(view, [report, *results, *risks]))
    return {"resourceType": "Bundle", "type": "transaction", "entry": made.entries}


def notes_for(view: ResultView, told: Told) -> list[str]:
    """Its notes, without those on the genome where these do not go."""
    return [note for note in view.notes if told.genomic or not any(word in note for word in _GENOMIC)]


def _rows(view: ResultView, told: Told) -> Iterator[Mapping[str, Any]]:
    """Numbers and answers that are told one by one; a detection's numbers are told of it."""
    for row in view.findings:
        genomic = row["name"].endswith("_with_score") or "PGS" in str(row.get("method", ""))
        if row["kind"] in ("measurement", "class", "evaluation", "detection") and (told.genomic or not genomic):
            yield row


def _status(view: ResultView) -> str:
    return "cancelled" if view.status is ReportStatus.NONE else str(view.status)


def _observation(view: ResultView, told: Told, row: Mapping[str, Any]) -> dict[str, Any]:
    made = {
        "status": _status(view),
        "category": _CATEGORY,
        "code": _concept(row["concept"]),
        "subject": told.subject,
        "effectiveDateTime": view.made_at.isoformat(),
        "device": {"display": f"{view.model} {view.version}"},
    }
    notes = [text for text in (row.get("method"), row.get("reason"), row.get("source")) if text]
    if site := row.get("site"):
        made["bodySite"] = _concept(site)
    if row["kind"] == "measurement":
        made["valueQuantity"] = _quantity(row)
    elif row["kind"] == "detection":
        made["component"] = [
            {"code": _concept(taken["concept"]), "valueQuantity": _quantity(taken)} for taken in row["measurements"]
        ]
        notes.append(f"Candidate {row['number']}; {row['tracking_id']}, {row['tracking_uid']}.")
    elif row["presence"] in _PRESENCE:
        made["valueCodeableConcept"] = {"coding": [_PRESENCE[row["presence"]]]}
    else:
        reason = {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "not-performed"}
        made["dataAbsentReason"] = {"coding": [reason], "text": str(row["reason"])}
    if lesion := row.get("lesion"):
        notes.append(f"Of {lesion['tracking_id']}, {lesion['tracking_uid']}.")
    if made.get("component") == []:
        del made["component"]
    return {**made, **({"note": [{"text": text} for text in notes]} if notes else {})}


def _risk(view: ResultView, told: Told, row: Mapping[str, Any], observation: dict[str, str]) -> dict[str, Any]:
    outcome: dict[str, Any] = {"outcome": _concept(row["concept"])}
    if row["kind"] == "measurement":
        outcome["probabilityDecimal"] = round(row["value"] / 100, 6)
    else:
        outcome["rationale"] = str(row["reason"])
    notes = notes_for(view, told)
    return {
        "status": _status(view),
        "subject": told.subject,
        "occurrenceDateTime": view.made_at.isoformat(),
        "method": {"text": str(row.get("method") or row.get("source") or view.model)},
        "basis": [observation],
        "prediction": [outcome],
        **({"note": [{"text": text} for text in notes]} if notes else {}),
    }


def _report(view: ResultView, told: Told, imaging: dict[str, str], results: list[dict[str, str]]) -> dict[str, Any]:
    by = f"Accepted by {view.reader}. " if view.status is ReportStatus.FINAL else ""
    none = f"There is no result: {view.trouble}. " if view.status is ReportStatus.NONE else ""
    made = {
        "status": _status(view),
        "category": _RADIOLOGY,
        "code": {"text": f"{view.model} {view.version}"},
        "subject": told.subject,
        "effectiveDateTime": view.made_at.isoformat(),
        "issued": view.made_at.isoformat(),
        "imagingStudy": [imaging],
        "conclusion": by + none + "Decision support and research software; not a cleared medical device.",
    }
    if view.accession_number:
        accession = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
        made["basedOn"] = [{"identifier": {"type": accession, "value": view.accession_number}}]
    return {**made, **({"result": results} if results else {})}


def _imaging_study(made: _Entries) -> dict[str, str]:
    view = made.view
    url = f"urn:uuid:{_uuid(view.uid('ImagingStudy'))}"
    own = {"system": UIDS, "value": f"urn:oid:{view.study_uid}"}
    modality = {"system": _SYSTEMS["DCM"], "code": view.modality}
    resource = {
        "resourceType": "ImagingStudy",
        "identifier": [own],
        "status": "available",
        "subject": made.told.subject,
        "series": [{"uid": uid, "modality": modality} for uid in dict.fromkeys(view.series_uids)],
    }
    request = {"method": "POST", "url": "ImagingStudy", "ifNoneExist": f"identifier={UIDS}|urn:oid:{view.study_uid}"}
    made.entries.append({"fullUrl": url, "resource": resource, "request": request})
    return {"reference": url}


def _provenance(view: ResultView, targets: list[dict[str, str]]) -> dict[str, Any]:
    """Who made it, of what. It has no identifier in R4: it goes under an id that is made of one."""
    name = _uuid(view.uid(f"Provenance {view.status}"))
    agents: list[dict[str, Any]] = [
        {
            "type": {"text": "assembler"},
            "who": {"display": f"{IMPLEMENTATION_VERSION_NAME}: {view.model} {view.version}, SHA-256 {view.digest}"},
        }
    ]
    if view.status is ReportStatus.FINAL:
        agents.append({"type": {"text": "verifier"}, "who": {"display": view.reader}})
    sources = [
        {"role": "source", "what": {"identifier": {"system": UIDS, "value": f"urn:oid:{uid}"}}}
        for uid in dict.fromkeys(view.series_uids)
    ]
    derived = [
        {"role": "derivation", "what": {"identifier": {"system": UIDS, "value": f"urn:oid:{sop_uid}"}}}
        for _, sop_uid, _ in view.objects
    ]
    resource = {
        "resourceType": "Provenance",
        "id": name,
        "target": targets,
        "recorded": view.made_at.isoformat(),
        "agent": agents,
        "entity": [*sources, *derived],
    }
    return {
        "fullUrl": f"urn:uuid:{name}",
        "resource": resource,
        "request": {"method": "PUT", "url": f"Provenance/{name}"},
    }


def _is_risk(row: Mapping[str, Any]) -> bool:
    concept = row["concept"]
    key = (concept["value"], concept["scheme"])
    return row["kind"] in ("measurement", "class") and (key in _RISKS or concept["value"].startswith(_OUTCOMES))


def _quantity(row: Mapping[str, Any]) -> dict[str, Any]:
    unit = row["unit"]
    return {"value": row["value"], "unit": unit["meaning"], "system": _SYSTEMS["UCUM"], "code": unit["value"]}


def _concept(code: Mapping[str, Any]) -> dict[str, Any]:
    system = _SYSTEMS.get(code["scheme"]) or f"urn:oid:{uid_from_uuid(uuid.uuid5(uuid.NAMESPACE_OID, code['scheme']))}"
    return {
        "coding": [{"system": system, "code": code["value"], "display": code["meaning"]}],
        "text": code["meaning"],
    }


def _uuid(uid: str) -> str:
    """The UUID that a UID below 2.25 is made of."""
    return str(uuid.UUID(int=int(uid.rpartition(".")[2])))
