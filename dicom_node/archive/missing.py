"""Results that no job brings: a rule wants a study, and nothing can be run on it.

Each is a job that has failed from the start and names no images, so that whoever looks for the result finds the
reason, and those whom the rule tells are told. A job that is planned later takes over from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.job_rows import columns_of
from dicom_node.archive.schema import job, study
from dicom_node.domain.job import JobState, NewJob, Priority
from dicom_node.domain.study import Readiness
from dicom_node.errors import DicomNodeError

_GONE = (JobState.CANCELLED, JobState.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class Held:
    """A study that waits for a person, so that the rules do not plan."""

    study_id: int
    revision: int
    last_received: datetime


@dataclass(frozen=True, slots=True)
class Missing:
    """The result of a rule on a study."""

    study_id: int
    study_uid: str
    rule: str
    model: str
    model_version: str
    model_digest: str
    priority: Priority

    def as_job(self) -> NewJob:
        """The job that stands for it."""
        return NewJob(
            study_id=self.study_id,
            key=hashlib.sha256(f"no job\n{self.study_uid}\n{self.rule}".encode()).hexdigest(),
            rule=self.rule,
            model=self.model,
            model_version=self.model_version,
            model_digest=self.model_digest,
            inputs=(),
            parameters={},
            destinations=(),
            withheld={},
            explanation={},
            priority=self.priority,
        )


def held(database: Database, limit: int = 1000) -> tuple[Held, ...]:
    """Studies that are held, those that came last first."""
    statement = (
        select(study.c.id, study.c.revision, study.c.last_received)
        .where(study.c.state == Readiness.HELD)
        .order_by(study.c.last_received.desc())
        .limit(limit)
    )
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return tuple(Held(row.id, row.revision, row.last_received) for row in rows)


def put_down(database: Database, missing: Missing, error: DicomNodeError, by: str) -> int | None:
    """Put down that a rule's result is missing, once for each study. None: it was, or a job of the rule is there."""
    new = missing.as_job()
    standing = select(job.c.id).where(job.c.study_id == new.study_id, job.c.rule == new.rule, job.c.state.not_in(_GONE))
    told = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
    ended = {"state": JobState.FAILED, "error": told, "finished_at": db_now(), "progress": "failed"}
    try:
        with database.write() as connection:
            known = select(job.c.id).where(job.c.key == new.key, job.c.issue == new.issue)
            if connection.execute(standing.union(known)).first() is not None:
                return None
            values = {**columns_of(new), **ended}
            job_id = int(connection.execute(insert(job).values(values).returning(job.c.id)).scalar_one())
            events.record(connection, "no job planned", by, told, study_id=new.study_id, job_id=job_id)
            return job_id
    except IntegrityError:
        return None  # another planner was faster; the row is the same
