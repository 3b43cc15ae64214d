"""Jobs that wait for features, and what they are given: frozen once, so that a late value never makes a second job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.schema import job
from dicom_node.archive.subjects import Subject, of_study
from dicom_node.archive.truth import Truth, series_of
from dicom_node.domain.feature import Feature, digest
from dicom_node.domain.job import JobState


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


def waiting(database: Database, limit: int = 100) -> tuple[Gathering, ...]:
    """Jobs that wait, those whose time ends first at the front."""
    columns = (job.c.id, job.c.study_id, job.c.model, job.c.model_digest, job.c.gather_until, job.c.inputs)
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
            )
            for row in rows
        )


def subject_of(database: Database, study_id: int, default_issuer: str) -> Subject:
    """The patient of a study, in a connection of its own."""
    with database.read() as connection:
        return of_study(connection, study_id, default_issuer)


def freeze(
    database: Database, job_id: int, values: Sequence[Feature], match: dict[str, Any], at: datetime, by: str = "gather"
) -> bool:
    """Give a job what it has waited for, and let it run unless it asks a person something. False: it waits no more."""
    content = {"at": at.isoformat(), "match": match, "values": [value.as_json() for value in values]}
    told = {"features": content, "features_digest": digest(values), "gather_until": None}
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
        events.record(connection, "features gathered", by, detail, study_id=row.study_id, job_id=job_id)
        return True
