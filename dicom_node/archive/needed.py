"""Jobs that wait for what other jobs find on the same study, and what the reports of a study measure.

Which job waits for which stands in the ledger (``job_dependency``), so that no crash forgets it. Where a job that was
waited for is superseded by another of the same rule, that one is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from dicom_node.archive.schema import event, instance, job, job_dependency, series
from dicom_node.domain.job import JobState
from dicom_node.domain.study import InstanceState

WAITS = "waits for"


@dataclass(frozen=True, slots=True)
class NeededJob:
    """A job whose findings another one waits for."""

    id: int
    model: str
    state: JobState
    question: str  # what it asks a person, where it waits

    @property
    def comes(self) -> bool:
        """Whether it will end by itself: nothing but this node stands between it and its end."""
        return self.state in (JobState.QUEUED, JobState.RUNNING) or (
            self.state == JobState.WAITING and not self.question
        )


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a person last said of a job's result."""

    accepted: bool
    reader: str


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A structured report that the study holds."""

    instance_id: int
    sop_uid: str
    path: str  # relative to the data directory


def need(connection: Connection, job_id: int, jobs: Sequence[int]) -> None:
    """Note whose findings a job waits for."""
    if jobs:
        rows = [{"job_id": job_id, "needs_job_id": other} for other in dict.fromkeys(jobs)]
        connection.execute(insert(job_dependency), rows)


def needed(connection: Connection, job_id: int) -> tuple[NeededJob, ...]:
    """The jobs that one waits for; of those that were superseded the ones that took over."""
    statement = (
        select(job.c.rule, job.c.study_id)
        .join(job_dependency, job_dependency.c.needs_job_id == job.c.id)
        .where(job_dependency.c.job_id == job_id)
        .distinct()
    )
    found = []
    for row in connection.execute(statement).all():
        newest = newest_of(connection, row.study_id, row.rule)
        if newest is not None:
            found.append(newest)
    return tuple(sorted(found, key=lambda each: each.id))


def newest_of(connection: Connection, study_id: int, rule: str) -> NeededJob | None:
    """The job of a rule on a study that counts, whatever became of it; None: there was none."""
    of_rule = select(job.c.id, job.c.model, job.c.state, job.c.question).where(
        job.c.study_id == study_id, job.c.rule == rule, job.c.encodes.is_(None)
    )
    standing = of_rule.where(job.c.state.not_in((JobState.SUPERSEDED, JobState.CANCELLED)))
    for statement in (standing, of_rule):
        row = connection.execute(statement.order_by(job.c.id.desc()).limit(1)).first()
        if row is not None:
            return NeededJob(row.id, row.model, JobState(row.state), row.question)
    return None


def done_of(connection: Connection, study_id: int, models: Sequence[str]) -> tuple[NeededJob, ...]:
    """Of each model the newest job on a study that is done, whichever rule ran it."""
    found = []
    for model in models:
        statement = select(job.c.id, job.c.model, job.c.state, job.c.question).where(
            job.c.study_id == study_id, job.c.model == model, job.c.state == JobState.DONE, job.c.encodes.is_(None)
        )
        row = connection.execute(statement.order_by(job.c.id.desc()).limit(1)).first()
        if row is not None:
            found.append(NeededJob(row.id, row.model, JobState(row.state), row.question))
    return tuple(found)


def acceptance(connection: Connection, job_id: int) -> Acceptance | None:
    """What a person last said of a result; None: nothing."""
    said = ("result accepted", "result rejected")
    statement = (
        select(event.c.kind, event.c.detail)
        .where(event.c.job_id == job_id, event.c.kind.in_(said))
        .order_by(event.c.id.desc())
        .limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else Acceptance(row.kind == said[0], str(row.detail.get("reader", "")))


def reports(connection: Connection, study_id: int) -> tuple[StoredReport, ...]:
    """The structured reports of a study that count, in the order in which they came."""
    statement = (
        select(instance.c.id, instance.c.sop_uid, instance.c.path)
        .join(series, series.c.id == instance.c.series_id)
        .where(instance.c.study_id == study_id, series.c.modality == "SR")
        .where(instance.c.state == InstanceState.CURRENT)
        .order_by(instance.c.id)
    )
    return tuple(StoredReport(row.id, row.sop_uid, row.path) for row in connection.execute(statement).all())
