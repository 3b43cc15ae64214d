"""What is known of a parcel of our own objects before it is sent, and what came of asking its destination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError
from sqlalchemy import Connection, or_, select, update

from dicom_node.archive import events, open_items
from dicom_node.archive.database import Database, db_later
from dicom_node.archive.own_objects import one_of_each_series
from dicom_node.archive.rejection_notes import inputs_of
from dicom_node.archive.schema import artifact, instance, job, parcel, result_set, series, study
from dicom_node.archive.truth import CORRECTABLE, Truth, said_by, series_of
from dicom_node.domain.parcel import Parcel, ParcelState, Purpose
from dicom_node.domain.record import Subject
from dicom_node.errors import DicomNodeError, HeaderError

_ARRIVED = (ParcelState.SENT, ParcelState.PRESENT, ParcelState.COMMITTED)


@dataclass(frozen=True, slots=True)
class Check:
    """A parcel, as it is before it is sent."""

    set_id: int
    rule: str  # of its job
    subject: Subject
    corrected: Mapping[str, str]  # keyword -> what its objects say otherwise than they were first written
    told: Mapping[str, str] | None  # what they would have to say so, by what we know now; None: they do
    divided: bool  # its images belong to several studies or patients now
    doubts: int  # looks in a row at which the destination's record did not fit
    sent_by_it: bool = False  # whether the images came from there


def check_of(database: Database, record: Parcel, ae_title: str) -> Check:
    """What a parcel of our own objects is to be compared by; ``ae_title`` is its destination's, if it has one.

    Raises:
        HeaderError: its file cannot be read.
    """
    with database.read() as connection:
        row = connection.execute(select(parcel).where(parcel.c.id == record.id)).one()
        set_ = connection.execute(select(result_set).where(result_set.c.id == row.result_set_id)).one()
        of_job = connection.execute(select(job).where(job.c.id == set_.job_id)).one()
        chosen = series_of(of_job.inputs)
        truth = Truth.of(connection, row.study_id, chosen)
        seen = connection.execute(select(series.c.id, series.c.calling_ae).where(series.c.id.in_(chosen))).all()
        sent_from_there = bool(ae_title) and {each.calling_ae.strip() for each in seen} == {ae_title.strip()}
        chosen_images = inputs_of(of_job.inputs) or one_of_each_series(connection, row.study_id)
        images = _images(connection, chosen_images)
        was_there = sent_from_there or _had(connection, row.study_id, record.destination, chosen_images)
        # What takes a result back has to arrive, also where its images were rejected and are hidden.
        was_there = was_there and record.purpose is not Purpose.WITHDRAWAL
        corrected, told = _told(connection, database, set_, row.study_id, truth)
    subject = Subject(_said(database, record.artifacts[0].path), images, was_there)
    return Check(set_.id, of_job.rule, subject, corrected, told, truth.divided, row.doubts, sent_from_there)


def corrections_wanted(database: Database, set_id: int) -> Mapping[str, str] | None:
    """What the objects of a set would have to say otherwise than they were first written; None: they do.

    Raises:
        HeaderError: their file cannot be read.
    """
    with database.read() as connection:
        set_ = connection.execute(select(result_set).where(result_set.c.id == set_id)).one()
        row = connection.execute(select(job).where(job.c.id == set_.job_id)).one()
        truth = Truth.of(connection, row.study_id, series_of(row.inputs))
        return None if truth.divided else _told(connection, database, set_, row.study_id, truth)[1]


def said_of_job(database: Database, job_id: int) -> dict[str, str]:
    """What the newest result objects of a job say of what can be corrected; empty when it has none.

    Raises:
        HeaderError: their file cannot be read.
    """
    statement = (
        select(artifact.c.path)
        .join(result_set, result_set.c.id == artifact.c.result_set_id)
        .where(result_set.c.job_id == job_id, result_set.c.purpose == Purpose.RESULT)
        .order_by(result_set.c.id.desc(), artifact.c.id)
        .limit(1)
    )
    with database.read() as connection:
        path = connection.execute(statement).scalar()
    return {} if path is None else _said(database, path)


def _told(
    connection: Connection, database: Database, set_: Any, study_id: int, truth: Truth
) -> tuple[dict[str, str], Mapping[str, str] | None]:
    corrected = dict(set_.manifest.get("corrected") or {})
    if set_.manifest.get("for"):
        return corrected, None  # written anew by the record of its destination, which is asked again
    root = set_.manifest.get("of", set_.id)
    first = select(artifact.c.path).where(artifact.c.result_set_id == root).order_by(artifact.c.id).limit(1)
    path = connection.execute(first).scalar()
    if path is None:
        return corrected, None
    said = _said(database, path)
    wanted = truth.differences(said)
    home = connection.execute(select(study.c.study_uid).where(study.c.id == study_id)).scalar_one()
    if not truth.study_uid and said["StudyInstanceUID"] != home:
        wanted["StudyInstanceUID"] = home  # it was written while the study was moved
    return corrected, None if wanted == corrected else wanted


def note(database: Database, parcel_id: int, words: str, *, known: bool = False) -> None:
    """What the destination's record said; ``known``: it shows the images."""
    values: dict[str, Any] = {"record": words, "doubts": 0}
    if known:
        values["known"] = True
    changed = or_(parcel.c.record != words, parcel.c.doubts != 0)
    with database.read() as connection:
        if connection.execute(select(parcel.c.id).where(parcel.c.id == parcel_id, changed)).first() is None:
            return
    with database.write() as connection:
        connection.execute(update(parcel).where(parcel.c.id == parcel_id).values(**values))


def doubt(database: Database, parcel_id: int, error: DicomNodeError, pause_s: float) -> None:
    """The destination's record does not fit; it is asked again after the pause, before anything is done."""
    told = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
    values = {"doubts": parcel.c.doubts + 1, "record": error.message, "next_try": db_later(pause_s), "error": told}
    with database.write() as connection:
        connection.execute(
            update(parcel).where(parcel.c.id == parcel_id, parcel.c.state == ParcelState.DUE).values(**values)
        )


def hold(database: Database, parcel_id: int, error: DicomNodeError, difference: str, by: str = "courier") -> None:
    """Keep it back until a person releases it, who thereby accepts the difference, or until it is corrected."""
    _end(database, parcel_id, ParcelState.HELD, error, {"difference": difference}, "parcel held", by)


def cancel(database: Database, parcel_id: int, error: DicomNodeError, by: str = "courier") -> None:
    """It is not to be sent any more, and the work list says so."""
    row = _end(database, parcel_id, ParcelState.CANCELLED, error, {}, "parcel cancelled", by)
    if row is None or row.result_set_id is None:
        return
    with database.write() as connection:
        job_id = connection.execute(select(result_set.c.job_id).where(result_set.c.id == row.result_set_id)).scalar()
        key = f"{error.reason}:{parcel_id}"
        open_items.open_(connection, key, error.reason, row.study_id, job_id, error.message, error.remedy)


def _end(
    database: Database,
    parcel_id: int,
    state: ParcelState,
    error: DicomNodeError,
    more: Mapping[str, str],
    kind: str,
    by: str,
) -> Any:
    told = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
    values = {"state": state, "error": {**told, **more}, "record": error.message, "doubts": 0}
    with database.write() as connection:
        row = connection.execute(
            update(parcel)
            .where(parcel.c.id == parcel_id, parcel.c.state == ParcelState.DUE)
            .values(**values)
            .returning(parcel.c.study_id, parcel.c.destination, parcel.c.result_set_id)
        ).first()
        if row is not None:
            detail = {"destination": row.destination, **told}
            events.record(connection, kind, by, detail, study_id=row.study_id, parcel_id=parcel_id)
    return row


def _said(database: Database, path: str) -> dict[str, str]:
    tags = [tag_for_keyword(keyword) or 0 for keyword in ("SpecificCharacterSet", *CORRECTABLE)]
    try:
        return said_by(pydicom.dcmread(database.data_dir / path, stop_before_pixels=True, specific_tags=tags))
    except (OSError, InvalidDicomError) as error:
        raise HeaderError(f"our own file {path} cannot be read: {error}", reason="unreadable-file") from error


def _images(connection: Connection, ids: Iterable[int]) -> dict[str, tuple[str, ...]]:
    """Series Instance UID -> SOP Instance UIDs of these images."""
    wanted = sorted(ids)
    found: dict[str, list[str]] = {}
    for start in range(0, len(wanted), 500):
        statement = (
            select(instance.c.sop_uid, series.c.series_uid)
            .join(series, series.c.id == instance.c.series_id)
            .where(instance.c.id.in_(wanted[start : start + 500]))
        )
        for row in connection.execute(statement).all():
            found.setdefault(row.series_uid, []).append(row.sop_uid)
    return {uid: tuple(sop_uids) for uid, sop_uids in found.items()}


def _had(connection: Connection, study_id: int, destination: str, wanted: Iterable[int]) -> bool:
    """Whether a destination has shown these images before, or was sent them by us."""
    sent_on = parcel.c.result_set_id.is_(None) & parcel.c.state.in_(_ARRIVED)
    statement = (
        select(parcel.c.instances, job.c.inputs)
        .outerjoin(result_set, result_set.c.id == parcel.c.result_set_id)
        .outerjoin(job, job.c.id == result_set.c.job_id)
        .where(parcel.c.study_id == study_id, parcel.c.destination == destination, or_(parcel.c.known, sent_on))
    )
    missing = set(wanted)
    for instances, inputs in connection.execute(statement).all():
        missing -= {*(instances or ()), *inputs_of(inputs or {})}
        if inputs is not None and not inputs_of(inputs):
            return True  # it was asked for one image of each series
    return not missing
