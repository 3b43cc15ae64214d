"""The last earlier result of the same patient by the same model that no reader has rejected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, func, select

from dicom_node.archive import subjects
from dicom_node.archive.database import Database
from dicom_node.archive.schema import artifact, finding, job, result_set, study
from dicom_node.domain.comparison import Prior
from dicom_node.domain.job import Job, JobState
from dicom_node.domain.parcel import Purpose


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the ledger keeps of it."""

    prior: Prior
    rows: tuple[Mapping[str, Any], ...]  # kind and content of its findings
    acquisition: Mapping[str, Any]  # protocol, frame of reference and centres, as the worker left them


def newest(database: Database, of: Job, default_issuer: str = "") -> Earlier | None:
    """The result to compare a job's with; None: there is none.

    Of the same patient (PatientID and its issuer), model and digest, in another study with an earlier date; what is
    withdrawn, superseded or rejected does not count. Of one study the rule of the job goes first.
    """
    with database.read() as connection:
        current = connection.execute(select(study).where(study.c.id == of.study_id)).one()
        day = _when(current)
        who = subjects.of_study(connection, of.study_id, default_issuer).identities
        if not day or not who:
            return None
        found = [row for row in _candidates(connection, of, who) if "" < _when(row) < day]
        if not found:
            return None
        best = max(found, key=lambda row: (_when(row), row.rule == of.rule, row.job_id))
        return _read(connection, best)


def _candidates(connection: Connection, of: Job, who: tuple[int, ...]) -> list[Any]:
    rejected = exists().where(finding.c.job_id == job.c.id, finding.c.state == "rejected")
    statement = (
        select(
            job.c.id.label("job_id"),
            job.c.rule,
            result_set.c.id.label("set_id"),
            result_set.c.manifest,
            study.c.study_uid,
            study.c.attributes,
        )
        .join(study, study.c.id == job.c.study_id)
        .join(result_set, result_set.c.job_id == job.c.id)
        .where(job.c.model == of.model, job.c.model_digest == of.model_digest, job.c.state == JobState.DONE)
        .where(job.c.encodes.is_(None), job.c.study_id != of.study_id)
        .where(func.coalesce(study.c.moved_to, study.c.identity_id).in_(who))
        .where(result_set.c.purpose == Purpose.RESULT, result_set.c.standing == "current", ~rejected)
        .where(result_set.c.state == "encoded")
    )
    return list(connection.execute(statement).all())


def _read(connection: Connection, row: Any) -> Earlier | None:
    rows = connection.execute(select(finding).where(finding.c.job_id == row.job_id).order_by(finding.c.id)).all()
    report = connection.execute(
        select(artifact)
        .where(artifact.c.result_set_id == row.set_id, artifact.c.kind == "sr")
        .order_by(artifact.c.id)
        .limit(1)
    ).first()
    if report is None:
        return None
    prior = Prior(
        job_id=row.job_id,
        study_uid=row.manifest.get("study_uid") or row.study_uid,
        study_date=str(row.attributes.get("StudyDate") or ""),
        series_uid=report.series_uid,
        sop_class=report.sop_class,
        sop_uid=report.sop_uid,
        accepted=bool(rows) and all(each.state == "confirmed" for each in rows),
    )
    told = tuple({"kind": each.kind, "content": each.content} for each in rows)
    return Earlier(prior, told, row.manifest.get("acquisition") or {})


def _when(row: Any) -> str:
    """Date and time of a study as they sort; empty: it has no date."""
    day, time = (str(row.attributes.get(keyword) or "") for keyword in ("StudyDate", "StudyTime"))
    return f"{day} {time}" if day else ""
