"""The work list of the administrator: studies whose models ask for a record that is not found beyond doubt.

What is told is as it is now: a study leaves the list as soon as its record agrees, or its images are corrected.
De-identified studies are never on it, since they are never matched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicom_node.archive import gathering
from dicom_node.archive.database import Database
from dicom_node.archive.features import Features, PatientRecord
from dicom_node.archive.subjects import Subject, of_study
from dicom_node.ehr_settings import EhrSettings
from dicom_node.sidecars.matching import Match, letters, match

_COMPARED = ("PatientName", "PatientBirthDate", "PatientSex")


@dataclass(frozen=True, slots=True)
class Unmatched:
    """One study."""

    study_id: int
    study_uid: str
    accession_number: str
    jobs: tuple[int, ...]  # that ask, or asked, for the record
    patient_id: str
    issuer: str
    reason: str
    compared: tuple[dict[str, Any], ...]  # how each record of the number agrees with the images

    def as_json(self) -> dict[str, Any]:
        """For ``--json`` and pages."""
        told = {
            name: getattr(self, name) for name in ("study_uid", "accession_number", "patient_id", "issuer", "reason")
        }
        return {"study": self.study_id, "jobs": list(self.jobs), **told, "compared": list(self.compared)}


def matched(
    database: Database, features: Features, settings: EhrSettings, study_id: int
) -> tuple[Subject, tuple[PatientRecord, ...], Match]:
    """Who a study's patient is, the records of that number, and whether one is theirs."""
    with database.read() as connection:
        subject = of_study(connection, study_id, settings.default_issuer, settings.deidentified_from)
    records = tuple(record for identity in subject.identities for record in features.records(identity))
    return subject, records, match(subject, records)


def unmatched(database: Database, settings: EhrSettings) -> tuple[Unmatched, ...]:
    """The studies on the list, those that came last at the front."""
    features, found = Features(database), []
    for each in gathering.asking(database):
        subject, records, told = matched(database, features, settings, each.study_id)
        if told.matched or subject.identity_removed:
            continue
        about = (each.study_id, each.study_uid, each.accession_number, each.jobs)
        found.append(Unmatched(*about, subject.patient_id, subject.issuer, told.reason, _compared(subject, records)))
    return tuple(found)


def _compared(subject: Subject, records: tuple[PatientRecord, ...]) -> tuple[dict[str, Any], ...]:
    """How each record agrees with the images; what either says of the person is not given."""
    return tuple(
        {"record": f"{each.source} {each.reference}", "standing": each.standing}
        | {keyword: _agreement(keyword, subject.attributes, each.attributes) for keyword in _COMPARED}
        for each in records
    )


def _agreement(keyword: str, images: Mapping[str, str], record: Mapping[str, str]) -> str:
    ours, theirs = images.get(keyword, ""), record.get(keyword, "")
    if not ours or not theirs:
        return "not told by the images" if not ours else "not told by the record"
    same = letters(ours) == letters(theirs) if keyword == "PatientName" else ours == theirs
    return "agrees" if same else "differs"
