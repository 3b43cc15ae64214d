"""How a worker takes a job: the one its message names, or one that goes before it.

Messages are sent a moment after jobs are planned, and wait in the broker in the order of those moments; the ledger
knows the order at once. The statements are built once: workers take many jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from dicom_node.archive import fitting
from dicom_node.archive.database import come, db_later, db_now
from dicom_node.archive.schema import job, study
from dicom_node.domain.fitness import Abilities
from dicom_node.domain.job import JobState

_study_uid = select(study.c.study_uid).where(study.c.id == job.c.study_id).scalar_subquery().label("study_uid")


class Taking:
    """Statements of one worker. ``at_once``: model -> how many of its jobs may run; ``abilities``: None may run all."""

    def __init__(self, maximum_attempts: int, at_once: Mapping[str, int], abilities: Abilities | None) -> None:
        self._limited = bool(at_once)
        waiting = job.alias()
        may_run = [*fitting.has_room(at_once, waiting), *fitting.fits(abilities, waiting)]
        left = waiting.c.attempt - waiting.c.excused < maximum_attempts
        queued = and_(waiting.c.state == JobState.QUEUED, come(waiting.c.run_after), left, *may_run)
        self.next = select(waiting.c.id).where(queued).order_by(waiting.c.priority, waiting.c.id).limit(1)
        named = job.alias()
        rank = select(named.c.priority).where(named.c.id == bindparam("named")).scalar_subquery()
        before = self.next.where(waiting.c.priority < rank).scalar_subquery()
        self._any = self._take(func.coalesce(before, bindparam("named")), maximum_attempts, at_once, abilities)
        self._this = self._take(bindparam("named"), maximum_attempts, at_once, abilities)
        rung = update(job).where(job.c.id == bindparam("named"), job.c.state == JobState.QUEUED)
        self._ring_again = rung.values(published_at=None)

    def take(self, connection: Connection, named: int, owner: str, lease_s: float, *, before: bool) -> Any:
        """Row of the job that is this owner's now, with ``study_uid``; None: it is not to be had.

        ``before``: a more urgent job, if one waits, goes first. The named job then needs another message.
        """
        values = {"named": named, "by": owner, "lease_s": lease_s}
        row = connection.execute(self._any, values).first() if before else None
        if row is None:  # when another worker was faster with the more urgent one, the named one may still be free
            row = connection.execute(self._this, values).first()
        if (row is None and self._limited) or (row is not None and row.id != named):
            connection.execute(self._ring_again, {"named": named})
        return row

    @staticmethod
    def _take(which: Any, maximum_attempts: int, at_once: Mapping[str, int], abilities: Abilities | None) -> Any:
        free = or_(
            job.c.state == JobState.QUEUED,
            and_(job.c.state == JobState.RUNNING, job.c.lease_until < db_now()),
        )
        return (
            update(job)
            .where(job.c.id == which, free, come(job.c.run_after))
            .where(*fitting.has_room(at_once, job), *fitting.fits(abilities, job))
            .where(job.c.attempt - job.c.excused < maximum_attempts)
            .values(
                state=JobState.RUNNING,
                attempt=job.c.attempt + 1,
                owner=bindparam("by"),
                lease_until=db_later(bindparam("lease_s")),
                started_at=db_now(),
                progress="claimed",
            )
            .returning(*job.c, _study_uid)
        )
