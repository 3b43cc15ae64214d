"""Whose images a study holds, with what authorities corrected: what a record must agree with to be theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from dicom_node.archive.schema import identity, instance, study
from dicom_node.archive.truth import Truth

_PERSON = ("PatientName", "PatientBirthDate", "PatientSex")


@dataclass(frozen=True, slots=True)
class Subject:
    """The patient of a study."""

    patient_id: str
    issuer: str  # empty: neither the images nor the site say it
    attributes: Mapping[str, str]  # PatientName, PatientBirthDate, PatientSex
    identity_removed: bool = False  # Patient Identity Removed (0012,0062), or sent by one that removes it
    identities: tuple[int, ...] = ()  # rows under which records of this patient may be kept


def of_study(
    connection: Connection, study_id: int, default_issuer: str = "", deidentified_from: Collection[str] = ()
) -> Subject:
    """The patient of a study; ``default_issuer`` issued the numbers of images that name no issuer.

    ``deidentified_from``: AE titles that send images without their patient's identity.

    Of a study whose series belong to several patients the one that the study was moved to, or arrived with, counts;
    whoever asks about some series of it has to look at :class:`~dicom_node.archive.truth.Truth` besides.
    """
    row = connection.execute(select(study).where(study.c.id == study_id)).one()
    said = {keyword: _text(row.attributes.get(keyword)) for keyword in _PERSON}
    told = {keyword: value for keyword, value in Truth.of(connection, study_id).told.items() if keyword in _PERSON}
    removed = _text(row.attributes.get("PatientIdentityRemoved")).upper() == "YES"
    if not removed and deidentified_from:
        senders = select(instance.c.id).where(
            instance.c.study_id == study_id, instance.c.calling_ae.in_(deidentified_from)
        )
        removed = connection.execute(senders.limit(1)).first() is not None
    identity_id = row.moved_to or row.identity_id
    if identity_id is None:
        return Subject("", "", {**said, **told}, removed)
    who = connection.execute(select(identity).where(identity.c.id == identity_id)).one()
    issuer, found = who.issuer or default_issuer, [int(who.id)]
    if not who.issuer and default_issuer:
        key = {"site_id": who.site_id, "issuer": default_issuer, "patient_id": who.patient_id}
        found += connection.execute(select(identity.c.id).filter_by(**key)).scalars()
    return Subject(who.patient_id, issuer, {**said, **told}, removed, tuple(found))


def _text(value: object) -> str:
    return str(value).strip() if isinstance(value, str) else ""
