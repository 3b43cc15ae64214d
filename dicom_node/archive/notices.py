"""Notices: objects that tell people that a result is missing or late. Silence would read as a negative finding."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.exc import IntegrityError

from dicom_node.archive import documents, events
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.own_objects import Desk, identity, keep, occasion
from dicom_node.archive.results import insert_set
from dicom_node.archive.schema import job, parcel, result_set
from dicom_node.domain.job import UNFINISHED, JobState
from dicom_node.domain.parcel import ParcelState, Purpose

PROFILE = "notice"
_ENDED = (JobState.FAILED, JobState.QUARANTINED)
_CAUTION = (
    "Read the study as if no AI had been applied to it. That no AI result is here says nothing about what the images "
    "show."
)


@dataclass(frozen=True, slots=True)
class Wanting:
    """A job whose destinations should know that it gave no result, or not yet."""

    job_id: int
    rule: str
    state: JobState


def wanting(database: Database, rules: Collection[str], limit: int = 50) -> tuple[Wanting, ...]:
    """Jobs of these rules that ended without a result, or are late, and of which nobody was told."""
    told = exists().where(result_set.c.job_id == job.c.id, result_set.c.purpose == Purpose.NOTICE)
    undelivered = exists().where(
        parcel.c.result_set_id == result_set.c.id,
        result_set.c.job_id == job.c.id,
        result_set.c.purpose == Purpose.RESULT,
        result_set.c.standing == "current",
        parcel.c.state.in_((ParcelState.DUE, ParcelState.REFUSED, ParcelState.HELD)),
    )
    late = and_(
        job.c.useful_until < db_now(),
        job.c.question == "",  # one that asks whether to replace a result is not missed
        or_(job.c.state.in_(UNFINISHED), and_(job.c.state == JobState.DONE, undelivered)),
    )
    statement = (
        select(job.c.id, job.c.rule, job.c.state)
        .where(job.c.rule.in_(rules), job.c.encodes.is_(None), or_(job.c.state.in_(_ENDED), late), ~told)
        .order_by(job.c.priority, job.c.id)
        .limit(limit)
    )
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return tuple(Wanting(row.id, row.rule, JobState(row.state)) for row in rows)


def issue(database: Database, desk: Desk, found: Wanting, destinations: Sequence[str], by: str) -> bool:
    """Write the notice of a job and have it sent; once for each issue of a job. False: it was, or is not wanted.

    Raises:
        HeaderError: no image of the job can be read.
        OSError: the disk is full or fails.
    """
    with database.read() as connection:
        now = connection.execute(select(db_now())).scalar_one()
        row = connection.execute(select(job).where(job.c.id == found.job_id)).one()
        about = occasion(connection, desk, row)
    title, lines = _words(row, now)
    called = identity(about, PROFILE, f"{title}: {row.model} {row.model_version}", now, desk.zone)
    document = documents.note(about.inherited, about.images, about.author, called, lines)
    made = keep(desk, row, "notice", document, about.inherited.character_set)
    try:
        with database.write() as connection:
            state = connection.execute(select(job.c.state).where(job.c.id == row.id)).scalar_one()
            if state != row.state:
                return False
            manifest = {"title": title, "lines": lines}
            insert_set(connection, row, [made], destinations, manifest, profile=PROFILE, purpose=Purpose.NOTICE)
            detail = {"title": title, "to": list(destinations)}
            events.record(connection, "notice", by, detail, study_id=row.study_id, job_id=row.id)
    except IntegrityError:
        return False  # another node was faster; its notice is the same
    return True


def lateness(database: Database, job_id: int) -> str:
    """What a result of this job must say of its being late; empty when it is not."""
    with database.read() as connection:
        row = connection.execute(
            select(job.c.study_id, job.c.rule, job.c.useful_until, db_now().label("now")).where(job.c.id == job_id)
        ).one()
        # That of an earlier job of the rule on the study told of the same result, unless that job gave one of its own.
        own = result_set.alias()
        gave_one = exists().where(own.c.job_id == job.c.id, own.c.purpose == Purpose.RESULT)
        told = (
            select(result_set.c.created_at)
            .join(job, job.c.id == result_set.c.job_id)
            .where(job.c.study_id == row.study_id, job.c.rule == row.rule)
            .where(or_(job.c.id == job_id, and_(job.c.id < job_id, ~gave_one)))
            .where(result_set.c.purpose == Purpose.NOTICE)
        )
        notice = connection.execute(told.limit(1)).scalar()
    if notice is not None:
        return (
            "LATE RESULT: a notice that it was missing had been sent before. Read it in the light of when it was made."
        )
    if row.useful_until is not None and row.now > row.useful_until:
        return "LATE RESULT: it was made after the time in which it was to be of use."
    return ""


def _words(row: Any, now: datetime) -> tuple[str, list[str]]:
    model = f"{row.model} {row.model_version} (rule {row.rule})"
    error = row.error or {}
    if row.state in _ENDED:
        how = "refused its input" if row.state == JobState.FAILED else "failed"
        how = how if row.inputs else "was not run"
        reason = f"{model} {how}: {error.get('message') or error.get('reason') or row.state}"
        title = "AI NOT PERFORMED"
    elif row.state == JobState.DONE:
        reason, title = f"The result of {model} is there, and has not been delivered in time.", "AI RESULT LATE"
    else:
        reason, title = f"{model} has not given a result in time; it may still come.", "AI RESULT LATE"
    todo = f"Technical remedy: {error['remedy']}" if row.state in _ENDED and error.get("remedy") else ""
    lines = [f"{title}. This is a technical notice, not a finding.", reason, _CAUTION, todo, documents.DISCLAIMER]
    return title, [line for line in lines if line]
