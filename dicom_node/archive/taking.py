"""How a worker takes a job: the one its message names, or one that goes before it.

Messages are sent a moment after jobs are planned, and wait in the broker in the order of those moments; the ledger
knows the order at once. The statements are built once: workers take many jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import JSON, and_, bindparam, func, insert, literal, or_, select, type_coerce, update

from dicom_node.archive import events, fitting
from dicom_node.archive.database import Database, come, db_later, db_now
from dicom_node.archive.schema import event, job, study
from dicom_node.domain.fitness import Abilities
from dicom_node.domain.job import JobState

STARTED = "job started"
_COUNTED_CLAIMS = 0x6A6F6273  # any constant: claims that count others must not pass each other on PostgreSQL

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
        self._any_told, self._this_told = _and_tell(self._any), _and_tell(self._this)
        rung = update(job).where(job.c.id == bindparam("named"), job.c.state == JobState.QUEUED)
        self._ring_again = rung.values(published_at=None)

    def take(self, database: Database, named: int, owner: str, lease_s: float, *, before: bool) -> Any:
        """Row of the job that is this owner's now, with ``study_uid``; None: it is not to be had. The history tells it.

        ``before``: a more urgent job, if one waits, goes first. The named job then needs another message.
        """
        values = {"named": named, "by": owner, "lease_s": lease_s}
        if database.is_server and not self._limited:
            return self._take_at_once(database, values, before=before)
        with database.write(alone=_COUNTED_CLAIMS if self._limited else None) as connection:
            row = connection.execute(self._any, values).first() if before else None
            if row is None:  # when another worker was faster with the more urgent one, the named one may still be free
                row = connection.execute(self._this, values).first()
            if (row is None and self._limited) or (row is not None and row.id != named):
                connection.execute(self._ring_again, {"named": named})
            if row is not None:
                detail = {"attempt": row.attempt}
                events.record(connection, STARTED, owner, detail, study_id=row.study_id, job_id=row.id)
        return row

    def _take_at_once(self, database: Database, values: Mapping[str, Any], *, before: bool) -> Any:
        """The same by a server, which claims and tells in one statement: one round trip instead of four."""
        with database.single() as connection:
            row = connection.execute(self._any_told, values).first() if before else None
            if row is None:
                row = connection.execute(self._this_told, values).first()
            if row is not None and row.id != values["named"]:
                # Were this lost, the message that is being handled would come again: it is not acknowledged yet.
                connection.execute(self._ring_again, {"named": values["named"]})
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


def _and_tell(take: Any) -> Any:
    """The claim together with its event, in one statement (a data-modifying WITH, which SQLite has not)."""
    taken = take.cte("taken")
    told: dict[str, Any] = {
        "site_id": literal(1),
        "at": db_now(),
        "kind": literal(STARTED),
        "by": bindparam("by", type_=event.c.by.type),
        "study_id": taken.c.study_id,
        "job_id": taken.c.id,
        "detail": type_coerce(func.json_build_object("attempt", taken.c.attempt), JSON),
    }
    tell = insert(event).from_select(list(told), select(*told.values())).cte("told")
    return select(taken).add_cte(tell)
