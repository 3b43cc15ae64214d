"""Rows of the table of jobs as records, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, select

from dicom_node.archive.database import db_later, db_now
from dicom_node.archive.schema import instance, job, study
from dicom_node.domain.fitness import Needs, as_text, from_text
from dicom_node.domain.job import Job, JobState, NewJob, Priority, SelectedSeries


def columns_of(new: NewJob) -> dict[str, Any]:
    """Values of the row that a planned job begins with."""
    return {
        "site_id": 1,
        "study_id": new.study_id,
        "key": new.key,
        "issue": new.issue,
        "state": JobState.WAITING if new.question or new.gather_s is not None else JobState.QUEUED,
        "rule": new.rule,
        "model": new.model,
        "model_version": new.model_version,
        "model_digest": new.model_digest,
        "inputs": {selected.role: selected.as_json() for selected in new.inputs},
        "parameters": dict(new.parameters),
        "destinations": list(new.destinations),
        "withheld": dict(new.withheld),
        "features_digest": "",
        "explanation": dict(new.explanation),
        "priority": int(new.priority),
        "attempt": 0,
        "excused": 0,
        "progress": "",
        "run_after": db_now(),
        "created_at": db_now(),
        "timings": {},
        "versions": {},
        "question": new.question[:255],
        "priority_source": new.priority_source[:128],
        "gpu_memory_mb": new.needs.gpu_memory_mb,
        "labels": as_text(new.needs.labels),
        "useful_until": new.useful_until,
        "gather_until": None if new.gather_s is None else db_later(new.gather_s),
    }


def select_jobs() -> Select[Any]:
    """All columns of jobs, with the UID of their study."""
    return select(job, study.c.study_uid).join(study, study.c.id == job.c.study_id)


def job_of(row: Any) -> Job:
    """A row of ``select_jobs`` as a record."""
    inputs = tuple(SelectedSeries.from_json(role, value) for role, value in sorted(row.inputs.items()))
    return Job(
        id=row.id,
        site_id=row.site_id,
        study_id=row.study_id,
        study_uid=row.study_uid,
        key=row.key,
        issue=row.issue,
        state=JobState(row.state),
        rule=row.rule,
        model=row.model,
        model_version=row.model_version,
        model_digest=row.model_digest,
        inputs=inputs,
        parameters=row.parameters,
        destinations=tuple(row.destinations),
        withheld=row.withheld,
        explanation=row.explanation,
        priority=Priority(row.priority),
        attempt=row.attempt,
        excused=row.excused,
        owner=row.owner,
        progress=row.progress,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=row.error,
        timings=row.timings,
        versions=row.versions,
        supersedes=row.supersedes,
        question=row.question,
        priority_source=row.priority_source,
        needs=needs_of(row),
        useful_until=row.useful_until,
        gather_until=row.gather_until,
        features=row.features,
        encodes=row.encodes,
    )


def needs_of(row: Any) -> Needs:
    """What a job needs of its worker."""
    return Needs(row.gpu_memory_mb, from_text(row.labels))


def input_of(connection: Connection, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The column ``inputs`` of a job, with the files it means: what a person needs to look at a failure."""
    told = []
    for role, value in sorted(inputs.items()):
        statement = select(instance.c.path).where(instance.c.id.in_(value["instances"])).order_by(instance.c.id)
        paths = list(connection.execute(statement).scalars())
        told.append({"role": role, "series_uid": value["series_uid"], "paths": paths})
    return told
