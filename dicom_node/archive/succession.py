"""Which job comes after which: several jobs of one rule on one study, planned on other selections of its images.

The last one counts. A job takes over from those that have given no result yet, and names the one whose result it
replaces.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.schema import job, result_set
from dicom_node.domain.job import UNFINISHED, JobState
from dicom_node.domain.parcel import Purpose
from dicom_node.errors import LedgerError

_WITHOUT_RESULT = (*UNFINISHED, JobState.FAILED, JobState.QUARANTINED)


def take_over(connection: Connection, job_id: int, study_id: int, rule: str, *, asks: bool) -> None:
    """Supersede the earlier jobs of a rule on a study, and note whose result this job replaces.

    As long as it asks, only earlier questions are superseded: they are the same one.
    """
    states = (JobState.WAITING,) if asks else _WITHOUT_RESULT
    older = (job.c.study_id == study_id, job.c.rule == rule, job.c.id < job_id)
    values = {"state": JobState.SUPERSEDED, "finished_at": db_now(), "progress": f"superseded by job {job_id}"}
    superseded = update(job).where(*older, job.c.state.in_(states)).values(**values).returning(job.c.id)
    for row in connection.execute(superseded).all():
        events.record(connection, "job superseded", "planner", {"by_job": job_id}, study_id=study_id, job_id=row.id)
    newest = (
        select(job.c.id)
        .join(result_set, result_set.c.job_id == job.c.id)
        .where(*older, result_set.c.standing == "current", result_set.c.purpose == Purpose.RESULT)
        .order_by(job.c.id.desc())
        .limit(1)
    )
    predecessor = connection.execute(newest).scalar()
    connection.execute(update(job).where(job.c.id == job_id).values(supersedes=predecessor))


def approve(database: Database, job_id: int, by: str) -> None:
    """Let a job run that waits for a person's word.

    Raises:
        LedgerError: there is no such job, or it asks nothing.
    """
    with database.write() as connection:
        study_id, rule, question = _asking(connection, job_id)
        gathering = connection.execute(select(job.c.gather_until).where(job.c.id == job_id)).scalar() is not None
        state = JobState.WAITING if gathering else JobState.QUEUED
        values = {"state": state, "question": "", "published_at": None, "run_after": db_now()}
        connection.execute(update(job).where(job.c.id == job_id).values(**values))
        events.record(connection, "job approved", by, {"question": question}, study_id=study_id, job_id=job_id)
        take_over(connection, job_id, study_id, rule, asks=False)


def drop(database: Database, job_id: int, by: str) -> None:
    """Have a job that waits for a person's word never run; the earlier result stays.

    Raises:
        LedgerError: there is no such job, or it asks nothing.
    """
    with database.write() as connection:
        study_id, _, question = _asking(connection, job_id)
        values = {"state": JobState.CANCELLED, "finished_at": db_now(), "progress": "dropped"}
        connection.execute(update(job).where(job.c.id == job_id).values(**values))
        events.record(connection, "job dropped", by, {"question": question}, study_id=study_id, job_id=job_id)


def _asking(connection: Connection, job_id: int) -> tuple[int, str, str]:
    """Study, rule and question of a job that waits for a person's word."""
    row = connection.execute(select(job).where(job.c.id == job_id)).first()
    if row is None:
        raise LedgerError(f"there is no job {job_id}", reason="no-such-job", remedy="see: dicom-node jobs list")
    if row.state != JobState.WAITING or not row.question:
        raise LedgerError(
            f"job {job_id} is {row.state} and asks nothing", reason="asks-nothing", remedy="see: dicom-node jobs stuck"
        )
    return row.study_id, row.rule, row.question
