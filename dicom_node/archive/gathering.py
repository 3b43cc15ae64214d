"""Jobs that wait for features, and what they are given: frozen once, so that a late value never makes a second job."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select, update

from dicom_node.archive import events, needed
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.needed import NeededJob
from dicom_node.archive.renewals import Given
from dicom_node.archive.schema import job, study
from dicom_node.archive.subjects import Subject, of_study
from dicom_node.archive.truth import Truth, series_of
from dicom_node.domain.feature import Feature, digest
from dicom_node.domain.job import JobState
from dicom_node.domain.lesion import KnownLesion

_LONGEST_PROGRESS = 64  # letters


@dataclass(frozen=True, slots=True)
class Gathering:
    """A job that waits for features."""

    job_id: int
    study_id: int
    model: str
    model_digest: str
    until: datetime
    over: bool  # by the ledger's clock the time to wait has passed
    divided: bool  # its images belong to several patients or studies now
    needs: tuple[NeededJob, ...] = ()  # whose findings it waits for
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of its rule
    progress: str = ""  # what it says it waits for


def waiting(database: Database, limit: int = 100) -> tuple[Gathering, ...]:
    """Jobs that wait, those whose time ends first at the front."""
    columns = (
        job.c.id,
        job.c.study_id,
        job.c.model,
        job.c.model_digest,
        job.c.gather_until,
        job.c.inputs,
        job.c.parameters,
        job.c.progress,
    )
    over = (job.c.gather_until <= db_now()).label("over")
    which = (job.c.gather_until.is_not(None), job.c.state == JobState.WAITING)
    statement = select(*columns, over).where(*which).order_by(job.c.gather_until).limit(limit)
    with database.read() as connection:
        rows = connection.execute(statement).all()
        return tuple(
            Gathering(
                job_id=row.id,
                study_id=row.study_id,
                model=row.model,
                model_digest=row.model_digest,
                until=row.gather_until,
                over=bool(row.over),
                divided=Truth.of(connection, row.study_id, series_of(row.inputs)).divided,
                needs=needed.needed(connection, row.id),
                parameters=row.parameters,
                progress=row.progress,
            )
            for row in rows
        )


def again(database: Database, had: Given) -> Gathering:
    """A job with a result, as if it waited for its features now."""
    with database.read() as connection:
        return Gathering(
            job_id=had.job_id,
            study_id=had.study_id,
            model=had.model,
            model_digest="",
            until=had.changed_at,
            over=True,
            divided=Truth.of(connection, had.study_id, series_of(had.inputs)).divided,
            parameters=had.parameters,
        )


def tell(database: Database, waiting: Gathering, words: str) -> None:
    """Let a job say what it waits for."""
    told = words[:_LONGEST_PROGRESS]
    if told != waiting.progress:
        with database.write() as connection:
            which = (job.c.id == waiting.job_id, job.c.state == JobState.WAITING)
            connection.execute(update(job).where(*which).values(progress=told))


@dataclass(frozen=True, slots=True)
class Asking:
    """A study with jobs that ask, or asked, for features."""

    study_id: int
    study_uid: str
    accession_number: str
    jobs: tuple[int, ...]


def asking(database: Database) -> tuple[Asking, ...]:
    """Those studies, the newest at the front."""
    chosen = (
        select(study.c.id, study.c.study_uid, study.c.accession_number, job.c.id.label("job"))
        .join(job, job.c.study_id == study.c.id)
        .where(or_(job.c.features.is_not(None), job.c.gather_until.is_not(None)))
        .order_by(study.c.id.desc(), job.c.id)
    )
    found: dict[int, Asking] = {}
    with database.read() as connection:
        for row in connection.execute(chosen):
            before = found.get(row.id)
            jobs = (*before.jobs, row.job) if before else (row.job,)
            found[row.id] = Asking(row.id, row.study_uid, row.accession_number or "", jobs)
    return tuple(found.values())


def subject_of(
    database: Database, study_id: int, default_issuer: str, deidentified_from: Collection[str] = ()
) -> Subject:
    """The patient of a study, in a connection of its own."""
    with database.read() as connection:
        return of_study(connection, study_id, default_issuer, deidentified_from)


def freeze(
    database: Database,
    job_id: int,
    values: Sequence[Feature],
    match: dict[str, Any],
    at: datetime,
    lesions: Sequence[KnownLesion] = (),
    by: str = "gather",
) -> bool:
    """Give a job what it has waited for, and let it run unless it asks a person something. False: it waits no more."""
    content: dict[str, Any] = {"at": at.isoformat(), "match": match, "values": [value.as_json() for value in values]}
    if lesions:
        content["lesions"] = [lesion.as_json() for lesion in lesions]
    told = {"features": content, "features_digest": digest(values, lesions), "gather_until": None, "progress": ""}
    with database.write() as connection:
        which = (job.c.id == job_id, job.c.gather_until.is_not(None), job.c.state == JobState.WAITING)
        row = connection.execute(
            update(job).where(*which).values(**told).returning(job.c.study_id, job.c.question)
        ).first()
        if row is None:
            return False
        if not row.question:
            queued = {"state": JobState.QUEUED, "published_at": None, "run_after": db_now()}
            connection.execute(update(job).where(job.c.id == job_id).values(**queued))
        states: dict[str, int] = {}
        for value in values:
            states[value.state] = states.get(value.state, 0) + 1
        detail = {"matched": match["matched"], "reason": match["reason"], **states}
        detail["names"] = sorted(value.name for value in values if value.value is not None)
        events.record(connection, "features gathered", by, detail, study_id=row.study_id, job_id=job_id)
        return True
