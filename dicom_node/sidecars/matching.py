"""Whose record belongs to whose images: beyond doubt, or nothing is mixed and the report says so.

The number and its issuer decide; the date of birth and the sex must agree, and the name is told beside them. What is
not known on one side does not agree: an image without a date of birth may be anybody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.archive.features import PatientRecord
from dicom_node.archive.subjects import Subject

_AGREE = ("PatientBirthDate", "PatientSex")
_SAID = {"PatientBirthDate": "date of birth", "PatientSex": "sex"}


@dataclass(frozen=True, slots=True)
class Match:
    """Whether a record is that of the images, and the evidence."""

    matched: bool
    reason: str
    record: PatientRecord | None = None

    def as_json(self) -> dict[str, Any]:
        """What the ledger keeps with a job, and the report says."""
        record = f"{self.record.source} {self.record.reference}" if self.record else ""
        return {"matched": self.matched, "reason": self.reason, "record": record}


def match(subject: Subject, records: Sequence[PatientRecord]) -> Match:
    """Decide by the records that are kept under the subject's number and issuer."""
    if subject.identity_removed:
        return Match(False, "the images are de-identified; they are never matched")
    if not subject.patient_id:
        return Match(False, "the images name no patient")
    if not subject.issuer:
        return Match(False, "nobody says who issued the patient's number; set ehr.default_issuer")
    current = [record for record in records if record.standing == "current"]
    if not current:
        return Match(False, f"no record has the number {subject.patient_id} of {subject.issuer}")
    if len({(record.source, record.reference) for record in current}) > 1 and _differ(current):
        told = ", ".join(f"{record.source} {record.reference}" for record in current)
        return Match(False, f"{len(current)} records have the number and are not one person's: {told}")
    if fault := _disagreement(subject.attributes, current[0].attributes):
        return Match(False, fault)
    return Match(True, _evidence(subject, current[0]), current[0])


def _differ(records: Sequence[PatientRecord]) -> bool:
    """Whether records describe several people: two of one system always do."""
    systems = [record.source for record in records]
    people = {tuple(record.attributes.get(keyword, "") for keyword in _AGREE) for record in records}
    return len(people) > 1 or len({*systems}) < len(systems)


def _disagreement(images: Mapping[str, str], record: Mapping[str, str]) -> str:
    for keyword in _AGREE:
        ours, theirs = images.get(keyword, ""), record.get(keyword, "")
        if not ours or not theirs or "O" in (ours, theirs):
            where = "the images" if not ours or ours == "O" else "the record"
            return f"the {_SAID[keyword]} is not told by {where}, so nothing corroborates the number"
        if ours != theirs:
            return f"the {_SAID[keyword]} is not the same in the images and in the record"
    return ""


def _evidence(subject: Subject, record: PatientRecord) -> str:
    ours, theirs = (letters(told.get("PatientName", "")) for told in (subject.attributes, record.attributes))
    name = "the name too" if ours and ours == theirs else "the name is written otherwise"
    return (
        f"number {subject.patient_id} of {subject.issuer}, date of birth and sex agree with {record.source} "
        f"{record.reference}; {name}"
    )


def letters(name: str) -> str:
    """Family and first given name, for a comparison that decides nothing."""
    parts = name.split("=")[0].split("^")
    return "^".join("".join(filter(str.isalpha, part)).casefold() for part in parts[:2])
