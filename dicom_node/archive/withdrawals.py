"""Results are taken back: the ledger stops them, and whoever may have them is told by an object.

A peer that understands rejection notes (IHE IOCM) gets one of the result objects, and hides them; any other gets a note
in the study that says WITHDRAWN. Both are delivered as results are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, select, update

from dicom_node.archive import documents, events, open_items
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.own_objects import Desk, Occasion, identity, keep, occasion
from dicom_node.archive.results import add_parcels, insert_set
from dicom_node.archive.schema import job, parcel, result_set
from dicom_node.domain.parcel import REISSUED, Artifact, ParcelState, Purpose
from dicom_node.domain.rejection import Title
from dicom_node.errors import LedgerError

Profile = TypeVar("Profile", str, ColumnElement[str])
_REJECTION, _WITHDRAWN = "rejection-", "withdrawn-"
_ARRIVED = (ParcelState.SENT, ParcelState.PRESENT, ParcelState.COMMITTED)
_IS_RESULT = result_set.c.purpose == Purpose.RESULT
_STANDS = result_set.c.standing != REISSUED  # those that were written anew were taken back then


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What is taken back, and why."""

    job_id: int
    reason: str
    title: Title = Title.PATIENT_SAFETY
    standing: str = "withdrawn"  # or superseded, reissued: another result replaces it


@dataclass(frozen=True, slots=True)
class Prepared:
    """The objects of a withdrawal, written and not yet counted."""

    withdrawal: Withdrawal
    row: Any  # of the job
    objects: Mapping[str, tuple[Artifact, tuple[str, ...]]]  # profile -> object, destinations


def current(database: Database, model: str, version: str) -> tuple[int, ...]:
    """Jobs of a model's version whose results count."""
    statement = (
        select(job.c.id)
        .join(result_set, result_set.c.job_id == job.c.id)
        .where(job.c.model == model, job.c.model_version == version)
        .where(result_set.c.standing == "current", _IS_RESULT)
        .distinct()
        .order_by(job.c.id)
    )
    with database.read() as connection:
        return tuple(int(found) for found in connection.execute(statement).scalars())


def holders(connection: Connection, job_id: int) -> tuple[str, ...]:
    """Destinations that have the results of a job, or may have them."""
    statement = (
        select(parcel)
        .join(result_set, result_set.c.id == parcel.c.result_set_id)
        .where(result_set.c.job_id == job_id, _IS_RESULT, _STANDS)
        .order_by(parcel.c.id)
    )
    return tuple(dict.fromkeys(row.destination for row in connection.execute(statement).all() if may_hold(row)))


def stragglers(database: Database, limit: int = 20) -> tuple[Withdrawal, ...]:
    """Withdrawn results that reached one more destination, since a courier was at it when they were withdrawn."""
    told = select(result_set.c.job_id, parcel.c.destination).join(parcel, parcel.c.result_set_id == result_set.c.id)
    told = told.where(result_set.c.purpose == Purpose.WITHDRAWAL)
    cancelled = (
        select(result_set.c.job_id, result_set.c.standing, parcel)
        .join(parcel, parcel.c.result_set_id == result_set.c.id)
        .where(parcel.c.state == ParcelState.CANCELLED, _IS_RESULT)
        .where(result_set.c.standing.in_(("withdrawn", "superseded")))
    )
    with database.read() as connection:
        rows = connection.execute(cancelled).all()
        # What was written anew is taken back by ``reissues.stragglers``.
        held = [row for row in rows if may_hold(row) and (row.error or {}).get("reason") != REISSUED]
        ids = {row.job_id for row in held}
        known = (
            {tuple(row) for row in connection.execute(told.where(result_set.c.job_id.in_(ids))).all()} if ids else set()
        )
    late = {row.job_id: row for row in held if (row.job_id, row.destination) not in known}
    return tuple(
        Withdrawal(job_id, str(row.error.get("message", "")), standing=row.standing) for job_id, row in late.items()
    )[:limit]


def withdraw(
    database: Database, desk: Desk, withdrawal: Withdrawal, understand_notes: Collection[str], by: str
) -> tuple[str, ...]:
    """Take the results of a job back; the destinations that are told. Doing it again changes nothing.

    ``understand_notes``: names of the peers that understand rejection notes.

    Raises:
        LedgerError: the job has no result.
        HeaderError: no image of the job can be read.
        OSError: the disk is full or fails.
    """
    prepared = prepare(database, desk, withdrawal, understand_notes)
    with database.write() as connection:
        return carry_out(connection, prepared, by)


def prepare(database: Database, desk: Desk, withdrawal: Withdrawal, understand_notes: Collection[str]) -> Prepared:
    """Write the objects of a withdrawal; nothing is withdrawn yet."""
    with database.read() as connection:
        now = connection.execute(select(db_now())).scalar_one()
        row = connection.execute(select(job).where(job.c.id == withdrawal.job_id)).first()
        if row is None:
            raise LedgerError(
                f"there is no job {withdrawal.job_id}", reason="no-such-job", remedy="dicom-node jobs list"
            )
        about = occasion(connection, desk, row)
        told = holders(connection, row.id)
        first = connection.execute(
            select(result_set).where(result_set.c.job_id == row.id, _IS_RESULT).order_by(result_set.c.id)
        ).first()
    if first is None:
        raise LedgerError(f"job {row.id} has no result to withdraw", reason="no-result")
    return Prepared(withdrawal, row, _objects(desk, about, withdrawal, told, understand_notes, (now, first), "note"))


def objects(
    desk: Desk,
    about: Occasion,
    withdrawal: Withdrawal,
    holders_: Sequence[str],
    understand_notes: Collection[str],
    now: datetime,
    set_: Any,
) -> Mapping[str, tuple[Artifact, tuple[str, ...]]]:
    """Write what tells the holders of one set of objects (a row of the table of result sets) that it is taken back."""
    return _objects(desk, about, withdrawal, holders_, understand_notes, (now, set_), set_.profile)


def profiles_for(profile: Profile) -> tuple[Profile, Profile]:
    """Profiles of what takes a set of objects of this profile, or of the profile in this column, back."""
    return _REJECTION + profile, _WITHDRAWN + profile


def tell(connection: Connection, row: Any, objects: Mapping[str, tuple[Artifact, tuple[str, ...]]]) -> list[str]:
    """Have objects that take something of a job back sent; destinations that were not told before."""
    return [name for profile, (made, names) in objects.items() for name in _send(connection, row, profile, made, names)]


def _objects(
    desk: Desk,
    about: Occasion,
    withdrawal: Withdrawal,
    told: Sequence[str],
    understand_notes: Collection[str],
    when: tuple[datetime, Any],
    what: str,
) -> dict[str, tuple[Artifact, tuple[str, ...]]]:
    now, set_ = when
    rejection, withdrawn = profiles_for(what)
    noted = tuple(name for name in told if name in understand_notes)
    others = tuple(name for name in told if name not in understand_notes)
    objects = {}
    if noted:
        objects[rejection] = _rejection_note(desk, about, withdrawal, now, rejection), noted
    if others:
        objects[withdrawn] = _note(desk, about, withdrawal, set_.created_at, now, withdrawn), others
    return objects


def carry_out(connection: Connection, prepared: Prepared, by: str) -> tuple[str, ...]:
    """Count a prepared withdrawal, within the caller's transaction."""
    row, withdrawal = prepared.row, prepared.withdrawal
    where = (result_set.c.job_id == row.id, _IS_RESULT)
    changed = connection.execute(
        update(result_set)
        .where(*where, result_set.c.standing != withdrawal.standing, result_set.c.standing != "withdrawn", _STANDS)
        .values(standing=withdrawal.standing)
        .returning(result_set.c.id)
    ).all()
    sets = select(result_set.c.id).where(*where).scalar_subquery()
    error = {
        "reason": "withdrawn",
        "message": f"the results are {withdrawal.standing}: {withdrawal.reason}",
        "remedy": "",
    }
    unsent = parcel.c.state.in_((ParcelState.DUE, ParcelState.REFUSED, ParcelState.HELD))
    stopped = update(parcel).where(parcel.c.result_set_id.in_(sets))
    connection.execute(stopped.where(unsent).values(state=ParcelState.CANCELLED, error=error))
    # What is looked for and not found would be sent again.
    connection.execute(stopped.where(parcel.c.state == ParcelState.SENT).values(verify_at=None))
    told = tell(connection, row, prepared.objects)
    if changed or told:
        detail = {"reason": withdrawal.reason, "title": str(withdrawal.title), "told": told}
        open_items.close_of_job(connection, row.id, by)
        kind = "result withdrawn" if withdrawal.standing == "withdrawn" else "result replaced"
        events.record(connection, kind, by, detail, study_id=row.study_id, job_id=row.id)
    return tuple(told)


def may_hold(row: Any) -> bool:
    """Whether something of a parcel arrived, or was under way when the connection broke."""
    return bool(row.taken) or row.state in _ARRIVED or "object" in (row.error or {})


def _send(connection: Connection, row: Any, profile: str, made: Artifact, destinations: Sequence[str]) -> list[str]:
    """Parcels of an object to the destinations that have none yet; those destinations."""
    known = select(result_set.c.id).where(result_set.c.job_id == row.id, result_set.c.profile == profile)
    set_id = connection.execute(known).scalar()
    if set_id is None:
        insert_set(connection, row, [made], destinations, {}, profile=profile, purpose=Purpose.WITHDRAWAL)
        return list(destinations)
    sent = set(connection.execute(select(parcel.c.destination).where(parcel.c.result_set_id == set_id)).scalars())
    fresh = [name for name in destinations if name not in sent]
    add_parcels(connection, row, set_id, fresh)
    return fresh


def _rejection_note(desk: Desk, about: Occasion, withdrawal: Withdrawal, now: datetime, profile: str) -> Artifact:
    called = identity(about, profile, f"REJECTED: {_model(about.row)}", now, desk.zone)
    document = documents.rejection_note(
        about.inherited, about.results, about.author, called, withdrawal.title.code, withdrawal.reason
    )
    return keep(desk, about.row, "ko", document, about.inherited.character_set)


def _note(
    desk: Desk, about: Occasion, withdrawal: Withdrawal, made_at: datetime, now: datetime, profile: str
) -> Artifact:
    called = identity(about, profile, f"WITHDRAWN: {_model(about.row)}", now, desk.zone)
    made = documents.local_time(made_at, about.inherited.utc_offset, desk.zone)
    replaced = " Another result replaces it." if withdrawal.standing != "withdrawn" else ""
    lines = [
        f"WITHDRAWN. The result of {_model(about.row)} of {made:%Y-%m-%d %H:%M} must not be used.{replaced}",
        f"Reason: {withdrawal.reason}",
        "Objects: " + ", ".join(found.sop_uid for found in about.results),
        documents.DISCLAIMER,
    ]
    document = documents.note(about.inherited, about.results, about.author, called, lines)
    return keep(desk, about.row, "withdrawn", document, about.inherited.character_set)


def _model(row: Any) -> str:
    return f"{row.model} {row.model_version}"
