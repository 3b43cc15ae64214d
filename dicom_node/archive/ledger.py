"""Jobs in the ledger: planned once, claimed by one worker at a time, committed once.

The database is the queue; the broker only rings. A claim raises ``attempt``, and every later write names its
attempt and must hit one row, so a worker that was paused or cut off commits nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from dicom_node.archive import encodings, events, fitting, lost, needed, orders, succession
from dicom_node.archive.attempts import DONE, OWNED, RENEWED, attempt_of
from dicom_node.archive.database import Database, come, db_later, db_now
from dicom_node.archive.job_rows import columns_of, input_of, job_of, needs_of, select_jobs
from dicom_node.archive.rejection_notes import inputs_of, rejected_among
from dicom_node.archive.results import Outcome, artifact_of, insert_result
from dicom_node.archive.schema import artifact, finding, installation, instance, job, result_set
from dicom_node.archive.taking import Taking
from dicom_node.domain.fitness import NO_NEEDS, Abilities, Needs
from dicom_node.domain.job import Claim, Job, JobState, NewJob, Priority, SelectedSeries
from dicom_node.domain.parcel import UNSEEN, Artifact, Purpose
from dicom_node.errors import DicomNodeError, Fenced, LedgerError

RETRY_PAUSE_S = 5.0
INFRASTRUCTURE_PAUSE_S = 15.0

_PUBLISHED = (
    update(job)
    .where(job.c.id == bindparam("sent"), job.c.attempt == bindparam("tried"), job.c.priority == bindparam("as"))
    .values(published_at=db_now())
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A stored image that a job reads."""

    sop_uid: str
    path: str  # relative to the data directory


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that waits for a worker."""

    id: int
    model: str
    priority: Priority
    needs: Needs = NO_NEEDS
    attempt: int = 0


class Ledger:
    """Jobs: the writes and reads of every stage that deals with them."""

    def __init__(
        self,
        database: Database,
        maximum_attempts: int = 3,
        at_once: Mapping[str, int] = MappingProxyType({}),
        abilities: Abilities | None = None,
    ) -> None:
        """``at_once``: model -> how many of its jobs may run at the same time; others: any number.

        ``abilities``: of the worker that claims; None: it may run every job.
        """
        self.database = database
        self.maximum_attempts = maximum_attempts
        self._room = fitting.has_room(at_once)
        self._taking = Taking(maximum_attempts, at_once, abilities)

    def installation(self) -> uuid.UUID:
        """Namespace of the UIDs this installation makes."""
        with self.database.read() as connection:
            return uuid.UUID(connection.execute(select(installation.c.uuid)).scalar_one())

    def plan(self, new: NewJob, by: str = "planner") -> int | None:
        """Add a job; None when the same study content, model and parameters were planned before.

        Jobs of the same rule on the same study, planned on another selection, are superseded unless they gave a result;
        by one with a question only those that wait for an answer too.
        """
        try:
            with self.database.write() as connection:
                known = select(job.c.id).where(job.c.key == new.key, job.c.issue == new.issue)
                if connection.execute(known).first() is not None:
                    return None
                job_id = int(connection.execute(insert(job).values(columns_of(new)).returning(job.c.id)).scalar_one())
                needed.need(connection, job_id, new.after_jobs)
                detail = {"rule": new.rule, "model": f"{new.model} {new.model_version}"}
                events.record(connection, "job planned", by, detail, study_id=new.study_id, job_id=job_id)
                succession.take_over(connection, job_id, new.study_id, new.rule, asks=bool(new.question))
                orders.apply_to(connection, new.study_id)
                return job_id
        except IntegrityError:
            return None  # another planner was faster; the row is the same

    def claim(self, job_id: int, owner: str, lease_s: float) -> Claim | None:
        """Take this job, or None: another worker holds it, or it is no longer queued."""
        taken = self._take(job_id, owner, lease_s, before=False)
        return taken and taken[0]

    def take(self, job_id: int, owner: str, lease_s: float) -> tuple[Claim, Job] | None:
        """Take the job that a message names, or a more urgent one that waits; None: neither is to be had."""
        return self._take(job_id, owner, lease_s, before=True)

    def _take(self, job_id: int, owner: str, lease_s: float, *, before: bool) -> tuple[Claim, Job] | None:
        row = self._taking.take(self.database, job_id, owner, lease_s, before=before)
        return None if row is None else (Claim(row.id, int(row.attempt), owner), job_of(row))

    def next_queued(self) -> int | None:
        """The job that a worker should try to take next."""
        with self.database.read() as connection:
            return connection.execute(self._taking.next).scalar()

    def heartbeat(self, claim: Claim, lease_s: float, progress: str) -> bool:
        """Renew the lease; False when the job is no longer this attempt's."""
        with self.database.write() as connection:
            told = {"lease_s": lease_s, "doing": progress[:64]}
            return connection.execute(RENEWED, {**attempt_of(claim), **told}).rowcount == 1

    def commit(self, claim: Claim, outcome: Outcome) -> None:
        """Hand in the result: findings, artifacts and parcels in one transaction.

        Raises:
            Fenced: the job is no longer this attempt's; nothing was written.
        """
        with self.database.write() as connection:
            done = {"timed": dict(outcome.timings), "made_by": dict(outcome.versions)}
            row = connection.execute(DONE, {**attempt_of(claim), **done}).first()
            if row is None:
                raise Fenced(f"job {claim.job_id} is no longer attempt {claim.attempt} of {claim.owner}")
            set_id = insert_result(connection, row, outcome)
            encodings.spread(connection, row, set_id, outcome)
            detail = {"attempt": claim.attempt, "results": [made.kind for made in outcome.artifacts]}
            events.record(connection, "job done", claim.owner, detail, study_id=row.study_id, job_id=claim.job_id)

    def fail(
        self, claim: Claim, error: DicomNodeError, *, again: bool, excused: bool = False, **detail: Any
    ) -> JobState:
        """End this attempt without a result.

        ``again``: it may be tried again, if attempts are left; ``excused``: the attempt does not count, since
        infrastructure failed. Returns the state the job is in now.

        Raises:
            Fenced: the job is no longer this attempt's.
        """
        record: dict[str, Any] = {"reason": error.reason, "message": error.message, "remedy": error.remedy, **detail}
        with self.database.write() as connection:
            row = connection.execute(select(job).where(job.c.id == claim.job_id)).one()
            counted = row.attempt - row.excused - (1 if excused else 0)
            state = JobState.FAILED
            if again:
                state = JobState.QUEUED if counted < self.maximum_attempts else JobState.QUARANTINED
            values: dict[str, Any] = {"state": state, "error": record, "lease_until": None, "owner": None}
            if state == JobState.QUEUED:
                pause = INFRASTRUCTURE_PAUSE_S if excused else RETRY_PAUSE_S
                values |= {"published_at": None, "run_after": db_later(pause), "progress": "to be tried again"}
                values |= {"excused": row.excused + (1 if excused else 0)}
            else:
                record["input"] = input_of(connection, row.inputs)
                values |= {"finished_at": db_now(), "progress": str(state)}
            if connection.execute(OWNED.values(**values), attempt_of(claim)).rowcount != 1:
                raise Fenced(f"job {claim.job_id} is no longer attempt {claim.attempt} of {claim.owner}")
            kind = "job to be tried again" if state == JobState.QUEUED else f"job {state}"
            shown = {key: record[key] for key in ("reason", "message", "remedy")}
            events.record(connection, kind, claim.owner, shown, study_id=row.study_id, job_id=claim.job_id)
            return state

    def release(self, claim: Claim) -> bool:
        """Give the job back unharmed, on a graceful stop."""
        return self._hand_back(and_(job.c.id == claim.job_id, job.c.attempt == claim.attempt), claim.owner) == 1

    def release_all(self, owners: Sequence[str], by: str) -> int:
        """Give back unharmed whatever these owners run; they are about to be ended."""
        return self._hand_back(job.c.owner.in_(owners), by)

    def _hand_back(self, which: ColumnElement[bool], by: str) -> int:
        values = {"state": JobState.QUEUED, "owner": None, "lease_until": None, "published_at": None}
        running = update(job).where(which, job.c.state == JobState.RUNNING)
        statement = running.values(**values, excused=job.c.excused + 1, progress="handed back")
        with self.database.write() as connection:
            rows = connection.execute(statement.returning(job.c.id, job.c.study_id)).all()
            for row in rows:
                events.record(connection, "job handed back", by, study_id=row.study_id, job_id=row.id)
            return len(rows)

    def expire(self, owners: Sequence[str] = ()) -> int:
        """Put back jobs whose lease ran out, or whose owner is known to be dead; quarantine the hopeless."""
        overdue = and_(job.c.state == JobState.RUNNING, job.c.lease_until < db_now())
        if owners:
            overdue = or_(overdue, and_(job.c.state == JobState.RUNNING, job.c.owner.in_(owners)))
        with self.database.write() as connection:
            taken_back = 0
            for row in connection.execute(select(job).where(overdue)).all():
                hopeless = row.attempt - row.excused >= self.maximum_attempts
                state = JobState.QUARANTINED if hopeless else JobState.QUEUED
                values: dict[str, Any] = {"state": state, "owner": None, "lease_until": None, "published_at": None}
                if hopeless:
                    error = lost.error_of(connection, row, self.database.data_dir)
                    values |= {"error": error, "finished_at": db_now(), "progress": str(state)}
                still = (job.c.id == row.id, job.c.attempt == row.attempt, overdue)
                if connection.execute(update(job).where(*still).values(**values)).rowcount == 0:
                    continue  # another reconciler was faster, or it was cancelled meanwhile
                kind = "job quarantined" if hopeless else "worker lost"
                detail = {"owner": row.owner, "progress": row.progress}
                events.record(connection, kind, "reconciler", detail, study_id=row.study_id, job_id=row.id)
                taken_back += 1
            return taken_back

    def retry(self, job_id: int, by: str) -> JobState:
        """Queue a failed or quarantined job again, with all its attempts.

        Raises:
            LedgerError: there is no such job, or it is not one to be retried.
        """
        with self.database.write() as connection:
            row = connection.execute(select(job).where(job.c.id == job_id)).first()
            if row is None:
                raise LedgerError(f"there is no job {job_id}", reason="no-such-job", remedy="dicom-node jobs list")
            if row.state not in (JobState.FAILED, JobState.QUARANTINED, JobState.CANCELLED):
                raise LedgerError(
                    f"job {job_id} is {row.state}; only failed, quarantined and cancelled jobs are retried",
                    reason="not-retryable",
                )
            if not row.inputs:
                raise LedgerError(
                    f"job {job_id} stands for a result that could not be made: it names no images to run on",
                    reason="no-images",
                    remedy="when images come that fit, or the rule is corrected, another job is planned by itself",
                )
            if rejected_among(connection, inputs_of(row.inputs)):
                raise LedgerError(f"images of job {job_id} were rejected by a note", reason="images-rejected")
            values = {"state": JobState.QUEUED, "excused": row.attempt, "published_at": None, "finished_at": None}
            connection.execute(
                update(job).where(job.c.id == job_id).values(**values, run_after=db_now(), progress="retried by hand")
            )
            events.record(connection, "job retried", by, study_id=row.study_id, job_id=job_id)
            return JobState.QUEUED

    def to_publish(
        self, republish_after_s: float, idle: Sequence[Abilities] = (), idle_after_s: float = 0.0, limit: int = 200
    ) -> tuple[QueuedJob, ...]:
        """Queued jobs whose message was never sent, or so long ago that it may be lost.

        ``idle``: of workers with nothing to do; what one of them could run has lost its message ``idle_after_s`` ago.
        """
        unheard = or_(job.c.published_at.is_(None), job.c.published_at < db_later(-republish_after_s))
        for abilities in idle:
            missed = and_(job.c.published_at < db_later(-idle_after_s), *fitting.fits(abilities))
            unheard = or_(unheard, missed)
        statement = (
            select(job.c.id, job.c.model, job.c.priority, job.c.gpu_memory_mb, job.c.labels, job.c.attempt)
            .where(job.c.state == JobState.QUEUED, come(job.c.run_after), unheard, *self._room)
            .order_by(job.c.priority, job.c.id)
            .limit(limit)
        )
        with self.database.read() as connection:
            rows = connection.execute(statement).all()
        return tuple(QueuedJob(row.id, row.model, Priority(row.priority), needs_of(row), row.attempt) for row in rows)

    def mark_published(self, sent: Sequence[QueuedJob]) -> None:
        """Note that the messages of these jobs were sent; one that was claimed, or moved, since needs another."""
        if sent:
            with self.database.write() as connection:
                as_read = [{"sent": each.id, "tried": each.attempt, "as": int(each.priority)} for each in sent]
                connection.execute(_PUBLISHED, as_read)

    def unpublish(self) -> int:
        """All queued jobs need a message again: the broker lost its data."""
        with self.database.write() as connection:
            statement = update(job).where(job.c.state == JobState.QUEUED).values(published_at=None)
            return int(connection.execute(statement).rowcount)

    def age(self, after_s: float) -> int:
        """Routine jobs that have waited so long since they were planned become urgent."""
        old = and_(
            job.c.state == JobState.QUEUED,
            job.c.priority == Priority.ROUTINE,
            job.c.created_at < db_later(-after_s),
        )
        with self.database.read() as connection:
            if connection.execute(select(job.c.id).where(old).limit(1)).first() is None:
                return 0
        with self.database.write() as connection:
            raised = (
                update(job)
                .where(old)
                .values(
                    priority=int(Priority.URGENT),
                    priority_source="it had waited too long as routine",
                    published_at=None,
                )
            )
            rows = connection.execute(raised.returning(job.c.id, job.c.study_id)).all()
            for row in rows:
                detail = {"priority": "urgent", "why": "it had waited too long as routine"}
                events.record(connection, "priority", "reconciler", detail, study_id=row.study_id, job_id=row.id)
            return len(rows)

    def is_running(self, owners: Sequence[str]) -> bool:
        """Whether one of these owners runs a job."""
        statement = select(job.c.id).where(job.c.state == JobState.RUNNING, job.c.owner.in_(owners)).limit(1)
        with self.database.read() as connection:
            return connection.execute(statement).first() is not None

    def job(self, job_id: int) -> Job | None:
        """One job, or None."""
        with self.database.read() as connection:
            row = connection.execute(select_jobs().where(job.c.id == job_id)).first()
        return None if row is None else job_of(row)

    def jobs(
        self,
        *,
        study_id: int | None = None,
        rule: str | None = None,
        states: Sequence[JobState] = (),
        limit: int = 1000,
    ) -> tuple[Job, ...]:
        """Jobs, newest first."""
        statement = select_jobs().order_by(job.c.id.desc()).limit(limit)
        if study_id is not None:
            statement = statement.where(job.c.study_id == study_id)
        if rule is not None:
            statement = statement.where(job.c.rule == rule)
        if states:
            statement = statement.where(job.c.state.in_(states))
        with self.database.read() as connection:
            rows = connection.execute(statement).all()
        return tuple(job_of(row) for row in rows)

    def counts(self) -> dict[str, int]:
        """Number of jobs by state."""
        with self.database.read() as connection:
            rows = connection.execute(select(job.c.state, func.count()).group_by(job.c.state)).all()
        return {str(state): int(count) for state, count in rows}

    def running_owners(self) -> tuple[str, ...]:
        """Owners of the jobs that run."""
        with self.database.read() as connection:
            rows = connection.execute(select(job.c.owner).where(job.c.state == JobState.RUNNING).distinct()).scalars()
            return tuple(owner for owner in rows if owner)

    def sources(self, selected: SelectedSeries) -> tuple[SourceFile, ...]:
        """The stored images of a selection."""
        statement = select(instance.c.sop_uid, instance.c.path).where(instance.c.id.in_(selected.instances))
        with self.database.read() as connection:
            rows = connection.execute(statement.order_by(instance.c.id)).all()
        return tuple(SourceFile(row.sop_uid, row.path) for row in rows)

    def artifacts(self, job_id: int) -> tuple[Artifact, ...]:
        """The result objects of a job, but for those that were written anew, or that nobody gets."""
        with self.database.read() as connection:
            statement = (
                select(artifact)
                .join(result_set)
                .where(result_set.c.job_id == job_id, result_set.c.purpose == Purpose.RESULT)
                .where(result_set.c.standing.not_in(UNSEEN))
            )
            statement = statement.order_by(artifact.c.id)
            return tuple(artifact_of(row) for row in connection.execute(statement).all())

    def findings(self, job_id: int) -> tuple[Mapping[str, Any], ...]:
        """What a job found: kind, name, state and content of each finding."""
        with self.database.read() as connection:
            rows = connection.execute(select(finding).where(finding.c.job_id == job_id).order_by(finding.c.id)).all()
        return tuple({"kind": r.kind, "name": r.name, "state": r.state, **r.content} for r in rows)
