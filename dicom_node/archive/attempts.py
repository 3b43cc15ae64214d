"""Writes of the attempt that holds a job: each names it and must hit one row, else the job is no longer its own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, bindparam, update

from dicom_node.archive.database import db_later, db_now
from dicom_node.archive.schema import job
from dicom_node.domain.job import Claim, JobState

OWNED = update(job).where(
    job.c.id == bindparam("held"), job.c.attempt == bindparam("held_attempt"), job.c.state == JobState.RUNNING
)
RENEWED = OWNED.values(lease_until=db_later(bindparam("lease_s")), progress=bindparam("doing"))
DONE = OWNED.values(
    state=JobState.DONE,
    finished_at=db_now(),
    lease_until=None,
    progress="done",
    error=None,
    timings=bindparam("timed", type_=JSON),
    versions=bindparam("made_by", type_=JSON),
).returning(job.c.id, job.c.site_id, job.c.study_id, job.c.rule, job.c.destinations, job.c.owner, job.c.encodes)


def attempt_of(claim: Claim) -> dict[str, Any]:
    """Parameters of these statements that name the attempt."""
    return {"held": claim.job_id, "held_attempt": claim.attempt}
