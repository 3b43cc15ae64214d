"""Results are made anew: a job like the first one, whose report names the one it replaces; then that is taken back.

What a person asks for, and what follows when re-sent images correct patient, study or order, end in the same way: once
the new result is there, whoever has the old one is told.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from dicom_node.archive import events, open_items, parcel_checks
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.rejection_notes import inputs_of, rejected_among
from dicom_node.archive.schema import instance, job, result_set, study
from dicom_node.archive.withdrawals import Withdrawal, withdraw
from dicom_node.domain.fitness import Needs, as_text
from dicom_node.domain.job import JobState, SelectedSeries, job_key
from dicom_node.domain.parcel import Purpose
from dicom_node.domain.rejection import Title
from dicom_node.errors import InputError, LedgerError

_IS_RESULT = result_set.c.purpose == Purpose.RESULT
_IN_VAIN = (JobState.FAILED, JobState.QUARANTINED, JobState.CANCELLED, JobState.SUPERSEDED)
_IDENTIFYING = ("PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyInstanceUID")


@dataclass(frozen=True, slots=True)
class Model:
    """The model that makes the new result, as it is installed now."""

    name: str
    version: str
    digest: str
    needs: Needs


@dataclass(frozen=True, slots=True)
class Replacement:
    """Which result is to be made anew, and why."""

    job_id: int
    reason: str
    title: Title = Title.QUALITY  # of the rejection note for the old objects
    gather: bool = False  # features are asked for again, instead of those it had


def of_version(database: Database, model: str, version: str) -> tuple[int, ...]:
    """Jobs of a model's version whose results count, or were withdrawn, and that nothing has replaced."""
    replaced = select(job.c.supersedes).where(job.c.supersedes.is_not(None), job.c.state == JobState.DONE)
    statement = (
        select(job.c.id)
        .join(result_set, result_set.c.job_id == job.c.id)
        .where(job.c.model == model, job.c.model_version == version, _IS_RESULT)
        .where(result_set.c.standing.in_(("current", "withdrawn")), job.c.id.not_in(replaced))
        .distinct()
        .order_by(job.c.id)
    )
    with database.read() as connection:
        return tuple(int(found) for found in connection.execute(statement).scalars())


def replace(database: Database, replacement: Replacement, model: Model, by: str) -> tuple[int, bool]:
    """Plan the job whose result replaces another; its number, and whether it is a new one.

    Doing it again changes nothing as long as that job is not in vain.

    Raises:
        LedgerError: there is no such job, it has no result that can be replaced, or its images are gone.
    """
    with database.write() as connection:
        row = connection.execute(select(job).where(job.c.id == replacement.job_id).with_for_update()).first()
        if row is None:
            raise LedgerError(
                f"there is no job {replacement.job_id}", reason="no-such-job", remedy="dicom-node jobs list"
            )
        known = _successor(connection, row.id)
        if known is not None:
            return known, False
        _check(connection, row, model)
        values = _new_job(connection, row, replacement, model, by)
        job_id = int(connection.execute(insert(job).values(values).returning(job.c.id)).scalar_one())
        detail = {"rule": row.rule, "model": f"{model.name} {model.version}", "replaces": row.id}
        events.record(connection, "job planned", by, detail, study_id=row.study_id, job_id=job_id)
        return job_id, True


def settle(database: Database, desk: Desk, understand_notes: Collection[str], by: str) -> int:
    """Tell whoever has a result that was replaced, where it must not be used any more; how many destinations."""
    statement = (
        select(job.c.id, job.c.study_id, job.c.supersedes, job.c.replacement)
        .where(job.c.supersedes.is_not(None), ~job.c.settled, job.c.state == JobState.DONE)
        .order_by(job.c.id)
        .limit(50)
    )
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return sum(_settle(database, desk, row, understand_notes, by) for row in rows)


def _settle(database: Database, desk: Desk, row: Any, understand_notes: Collection[str], by: str) -> int:
    told: tuple[str, ...] = ()
    try:
        withdrawal = _withdrawal(database, row)
        if withdrawal is not None:
            told = withdraw(database, desk, withdrawal, understand_notes, by)
    except InputError as error:
        with database.write() as connection:
            reason = f"whoever has the result that job {row.id} replaces cannot be told: {error.message}"
            key = f"not-taken-back:{row.supersedes}"
            open_items.open_(connection, key, "not-taken-back", row.study_id, row.supersedes, reason, error.remedy)
    with database.write() as connection:
        connection.execute(update(job).where(job.c.id == row.id).values(settled=True))
    return len(told)


def _withdrawal(database: Database, row: Any) -> Withdrawal | None:
    """How the result that a job has replaced is taken back; None: it was right for the images that were there."""
    if row.replacement:
        title = Title(row.replacement["title"])
        return Withdrawal(row.supersedes, row.replacement["reason"], title, standing="superseded")
    new, old = (parcel_checks.said_of_job(database, number) for number in (row.id, row.supersedes))
    changed = [keyword for keyword in _IDENTIFYING if old and new and old.get(keyword) != new.get(keyword)]
    if not changed:
        return None
    reason = f"the images were sent again with other {', '.join(changed)}"
    return Withdrawal(row.supersedes, reason, Title.WRONG_WORKLIST_ENTRY, standing="superseded")


def _successor(connection: Connection, job_id: int) -> int | None:
    """A job that replaces this one, or will."""
    where = (job.c.supersedes == job_id, job.c.state.not_in(_IN_VAIN))
    return connection.execute(select(job.c.id).where(*where).order_by(job.c.id.desc()).limit(1)).scalar()


def _check(connection: Connection, row: Any, model: Model) -> None:
    sets = connection.execute(
        select(result_set.c.standing).where(result_set.c.job_id == row.id, _IS_RESULT).order_by(result_set.c.id)
    ).scalars()
    standings = list(sets)
    if not standings:
        raise LedgerError(f"job {row.id} has no result to replace", reason="no-result")
    if not {"current", "withdrawn"}.intersection(standings):
        raise LedgerError(
            f"the result of job {row.id} is replaced already", reason="not-current", remedy="replace the newer one"
        )
    if model.name != row.model:
        raise LedgerError(f"job {row.id} is of model {row.model}, not {model.name}", reason="other-model")
    if rejected_among(connection, inputs_of(row.inputs)):
        raise LedgerError(f"images of job {row.id} were rejected by a note", reason="images-rejected")


def _new_job(connection: Connection, row: Any, replacement: Replacement, model: Model, by: str) -> dict[str, Any]:
    uid = connection.execute(select(study.c.study_uid).where(study.c.id == row.study_id)).scalar_one()
    selected = [_with_digests(connection, SelectedSeries.from_json(role, found)) for role, found in row.inputs.items()]
    key = job_key(uid, selected, model.digest, row.parameters)
    last = connection.execute(select(func.max(job.c.issue)).where(job.c.key == key)).scalar()
    kept: tuple[str, ...] = (
        *("site_id", "study_id", "rule", "inputs", "parameters", "destinations", "withheld", "features_digest"),
        *("features", "explanation", "priority", "priority_source"),
    )
    waits: dict[str, Any] = {"state": JobState.QUEUED}
    if replacement.gather:
        kept = tuple(name for name in kept if name not in ("features", "features_digest"))
        waits = {"state": JobState.WAITING, "gather_until": db_now(), "features_digest": ""}
    return {
        **{name: getattr(row, name) for name in kept},
        **waits,
        "key": key,
        "issue": int(last or 0) + 1,
        "model": model.name,
        "model_version": model.version,
        "model_digest": model.digest,
        "attempt": 0,
        "excused": 0,
        "progress": "",
        "run_after": db_now(),
        "created_at": db_now(),
        "timings": {},
        "versions": {},
        "gpu_memory_mb": model.needs.gpu_memory_mb,
        "labels": as_text(model.needs.labels),
        "supersedes": row.id,
        "replacement": {"reason": replacement.reason, "title": str(replacement.title), "by": by},
    }


def _with_digests(connection: Connection, selected: SelectedSeries) -> SelectedSeries:
    digests: dict[int, str] = {}
    for start in range(0, len(selected.instances), 500):
        wanted = selected.instances[start : start + 500]
        rows = connection.execute(select(instance.c.id, instance.c.digest).where(instance.c.id.in_(wanted))).all()
        digests |= {row.id: row.digest for row in rows}
    found = tuple(digests[number] for number in selected.instances if number in digests)
    return SelectedSeries(selected.role, selected.series_id, selected.series_uid, selected.instances, found)
