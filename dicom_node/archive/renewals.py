"""Results whose inputs may have changed since: what came to record or study after they were given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from dicom_node.archive.database import Database, db_later
from dicom_node.archive.schema import event, feature, instance, job, result_set, series, study
from dicom_node.domain.job import JobState
from dicom_node.domain.parcel import Purpose

_ASSESSED = ("result accepted", "result rejected")
_IN_VAIN = (JobState.FAILED, JobState.QUARANTINED, JobState.CANCELLED, JobState.SUPERSEDED)
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Given:
    """A job with a result that counts, and what it was given."""

    job_id: int
    study_id: int
    model: str
    inputs: Mapping[str, Any]
    parameters: Mapping[str, Any]
    features: Mapping[str, Any]
    changed_at: datetime  # when something last came that it may have been given


def changed(database: Database, rules: Collection[str], days: float, limit: int = 200) -> tuple[Given, ...]:
    """Results of these rules of so many days, since whose features were given something came; newest first."""
    if not rules:
        return ()
    successor = select(job.c.supersedes).where(job.c.supersedes.is_not(None), job.c.state.not_in(_IN_VAIN))
    statement = (
        select(job)
        .join(result_set, result_set.c.job_id == job.c.id)
        .where(job.c.rule.in_(rules), job.c.state == JobState.DONE, job.c.encodes.is_(None))
        .where(job.c.finished_at > db_later(-days * _DAY_S), job.c.id.not_in(successor))
        .where(result_set.c.standing == "current", result_set.c.purpose == Purpose.RESULT)
        .order_by(job.c.id.desc())
        .limit(limit)
    )
    with database.read() as connection:
        found = []
        for row in connection.execute(statement).all():
            at = _last_change(connection, row.study_id)
            if row.features and at is not None and at > datetime.fromisoformat(row.features["at"]):
                found.append(Given(row.id, row.study_id, row.model, row.inputs, row.parameters, row.features, at))
        return tuple(found)


def _last_change(connection: Connection, study_id: int) -> datetime | None:
    """When something last came to a study or its patient that models may be given."""
    owner = connection.execute(select(study.c.identity_id, study.c.moved_to).where(study.c.id == study_id)).one()
    times = [
        connection.execute(statement).scalar()
        for statement in (
            select(func.max(feature.c.extracted_at)).where(
                feature.c.identity_id == (owner.moved_to or owner.identity_id)
            ),
            select(func.max(event.c.at)).where(event.c.study_id == study_id, event.c.kind.in_(_ASSESSED)),
            select(func.max(instance.c.received_at))
            .join(series, series.c.id == instance.c.series_id)
            .where(instance.c.study_id == study_id, series.c.modality == "SR"),
        )
    ]
    return max((at for at in times if at is not None), default=None)
