"""What people do to jobs by hand, and what they look for first: jobs that do not get on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.job_rows import job_of, select_jobs
from dicom_node.archive.orders import BY_HAND
from dicom_node.archive.processes import Process, Processes
from dicom_node.archive.schema import job
from dicom_node.domain.job import UNFINISHED, Job, JobState, Priority
from dicom_node.errors import LedgerError


@dataclass(frozen=True, slots=True)
class Stuck:
    """A job that does not get on, and why as far as the ledger shows it."""

    job: Job
    why: str
    remedy: str


def cancel(database: Database, job_id: int, by: str) -> None:
    """End a job that is not over. One that runs is abandoned at its next heartbeat, and commits nothing.

    Raises:
        LedgerError: there is no such job, or it is over.
    """
    with database.write() as connection:
        row = _unfinished(connection, job_id, "cancelled")
        values = {"state": JobState.CANCELLED, "finished_at": db_now(), "lease_until": None, "progress": "cancelled"}
        connection.execute(update(job).where(job.c.id == job_id).values(**values))
        detail = {"was": row.state}
        events.record(connection, "job cancelled", by, detail, study_id=row.study_id, job_id=job_id)


def prioritise(database: Database, job_id: int, priority: Priority, by: str) -> None:
    """Give a job that is not over another place in the order.

    Raises:
        LedgerError: there is no such job, or it is over.
    """
    with database.write() as connection:
        row = _unfinished(connection, job_id, "moved in the order")
        # A message in the queue of its new priority; the older one will find the job taken.
        values = {"priority": int(priority), "published_at": None, "priority_source": f"{BY_HAND}: {by}"[:128]}
        connection.execute(update(job).where(job.c.id == job_id).values(**values))
        detail = {"priority": priority.name.lower(), "was": Priority(row.priority).name.lower()}
        events.record(connection, "priority", by, detail, study_id=row.study_id, job_id=job_id)


def stuck(database: Database, after_s: float, limit: int = 200) -> tuple[Stuck, ...]:
    """Jobs that wait for a person, or have waited or run longer than ``after_s``; most urgent first."""
    late = db_later(-after_s)
    which = or_(
        job.c.state.in_((JobState.QUARANTINED, JobState.FAILED)),
        and_(job.c.state == JobState.WAITING, job.c.question != ""),
        and_(job.c.state.in_((JobState.QUEUED, JobState.WAITING)), job.c.created_at < late, job.c.run_after < late),
        and_(job.c.state == JobState.RUNNING, or_(job.c.started_at < late, job.c.lease_until < db_now())),
    )
    with database.read() as connection:
        rows = connection.execute(select_jobs().where(which).order_by(job.c.priority, job.c.id).limit(limit)).all()
        silent = set(
            connection.execute(
                select(job.c.id).where(job.c.state == JobState.RUNNING, job.c.lease_until < db_now())
            ).scalars()
        )
        running = connection.execute(
            select(job.c.model, func.count()).where(job.c.state == JobState.RUNNING).group_by(job.c.model)
        ).all()
    workers = [process for process in Processes(database).all() if process.kind == "worker" and process.present]
    counts = {str(model): int(count) for model, count in running}
    return tuple(Stuck(found, *_why(found, workers, counts, found.id in silent)) for found in map(job_of, rows))


def _why(found: Job, workers: Sequence[Process], running: dict[str, int], silent: bool) -> tuple[str, str]:
    """Why a job does not get on, and what to do."""
    if found.state in (JobState.QUARANTINED, JobState.FAILED):
        error = found.error or {}
        return str(error.get("message", found.state)), str(
            error.get("remedy", "")
        ) or f"dicom-node jobs show {found.id}"
    if found.question and found.state == JobState.WAITING:
        return found.question, f"dicom-node jobs approve {found.id}, or dicom-node jobs drop {found.id}"
    if found.state == JobState.WAITING and found.gather_until:
        return f"it waits for the patient's record until {found.gather_until:%Y-%m-%d %H:%M} UTC", ""
    if found.state == JobState.WAITING:
        return "it waits for another job's findings", ""
    if found.state == JobState.RUNNING:
        if silent:
            return (
                f"{found.owner} is silent: its lease has run out",
                "is the node's reconciler running? dicom-node check",
            )
        return f"{found.owner} is at it: {found.progress}", f"dicom-node jobs cancel {found.id}"
    if not workers:
        return "no worker is there", "start one: dicom-node worker"
    lacks = [f"{worker.name} {worker.abilities.lack(found.needs)}" for worker in workers]
    workers = [worker for worker in workers if not worker.abilities.lack(found.needs)]
    if not workers:
        return f"no worker may run it: {'; '.join(lacks)}", "start one that has it: dicom-node worker --labels …"
    if any(worker.idle for worker in workers):
        if running.get(found.model):
            return f"{running[found.model]} of its model run; no more may at once", "worker.at_once sets how many"
        return "a worker is idle, but has not taken it", "it is replaced after worker.stalled_seconds; see its log"
    return f"all {len(workers)} workers are busy", f"let it go first: dicom-node jobs prioritise {found.id} stat"


def _unfinished(connection: Connection, job_id: int, what: str) -> Any:
    row = connection.execute(select(job).where(job.c.id == job_id)).first()
    if row is None:
        raise LedgerError(f"there is no job {job_id}", reason="no-such-job", remedy="see: dicom-node jobs list")
    if row.state not in UNFINISHED:
        raise LedgerError(f"job {job_id} is {row.state} already; it cannot be {what}", reason="job-is-over")
    return row
