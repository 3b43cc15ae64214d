"""Objects that stand under another patient, study or order than theirs are written anew, and the old ones taken back.

A set of objects is never changed: the new one stands beside it, and is made from the first, so that corrections that
follow each other leave no trace but the last. Where only one destination has another record, only that one gets it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from uuid import UUID

import pydicom
from sqlalchemy import Connection, exists, select, update
from sqlalchemy.exc import IntegrityError

from dicom_node.archive import events, withdrawals
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.documents import Reference, local_time
from dicom_node.archive.own_objects import Desk, keep_file, occasion
from dicom_node.archive.results import artifact_of, insert_set
from dicom_node.archive.rewriting import Rewriting, rewritten
from dicom_node.archive.schema import artifact, installation, job, parcel, result_set
from dicom_node.archive.truth import CORRECTABLE, said_by, same
from dicom_node.archive.withdrawals import Withdrawal, may_hold
from dicom_node.domain.identifiers import result_uid
from dicom_node.domain.parcel import REISSUED, Artifact, ParcelState, Purpose
from dicom_node.domain.rejection import Title
from dicom_node.errors import HeaderError, LedgerError

DOUBTED = ("record-differs", "record-contradictory", "images-gone", "corrected")  # why the node itself holds parcels
_UNSENT = (ParcelState.DUE, ParcelState.REFUSED, ParcelState.HELD)


@dataclass(frozen=True, slots=True)
class Reissue:
    """What is to be written anew, and why."""

    set_id: int
    values: Mapping[str, str]  # keyword -> what its objects must say otherwise than they were first written
    reason: str
    source: str  # who told
    destinations: tuple[str, ...] | None = None  # only for these; None: for all


@dataclass(frozen=True, slots=True)
class Prepared:
    """Objects that are written, and not yet counted."""

    wanted: Reissue
    set_: Any  # row of the old set
    row: Any  # of the job
    profile: str
    corrected: Mapping[str, str]
    made: tuple[Artifact, ...]
    taken_back: Mapping[str, tuple[Artifact, tuple[str, ...]]]  # profile -> object, destinations


def reissue(database: Database, desk: Desk, wanted: Reissue, understand_notes: Collection[str], by: str) -> int | None:
    """Write a set of objects anew and have it sent in place of the old one; its id. None: it says so already.

    ``understand_notes``: names of the peers that understand rejection notes.

    Raises:
        LedgerError: there is no such set, or it counts no more.
        HeaderError: its files cannot be read.
        OSError: the disk is full or fails.
    """
    prepared = prepare(database, desk, wanted, understand_notes)
    if prepared is None:
        return None
    try:
        with database.write() as connection:
            return _carry_out(connection, prepared, by)
    except IntegrityError:
        return None  # another process was faster


def prepare(database: Database, desk: Desk, wanted: Reissue, understand_notes: Collection[str]) -> Prepared | None:
    """Write the new objects, and those that take the old ones back; nothing counts yet."""
    with database.read() as connection:
        now = connection.execute(select(db_now())).scalar_one()
        set_ = connection.execute(select(result_set).where(result_set.c.id == wanted.set_id)).first()
        if set_ is None or set_.standing != "current":
            raise LedgerError(f"result set {wanted.set_id} does not count any more", reason="not-current")
        row = connection.execute(select(job).where(job.c.id == set_.job_id)).one()
        namespace = UUID(connection.execute(select(installation.c.uuid)).scalar_one())
        root, profile = _root(connection, set_)
        originals = [artifact_of(found) for found in _artifacts(connection, root.id)]
        replaced = [artifact_of(found) for found in _artifacts(connection, set_.id)]
        parcels = _parcels(connection, set_.id, wanted.destinations)
        about = occasion(connection, desk, row, set_id=set_.id)
    data = [_read(desk, made) for made in originals]
    said = said_by(pydicom.dcmread(BytesIO(data[0]), stop_before_pixels=True))
    corrected = {
        key: value for key, value in wanted.values.items() if key in CORRECTABLE and not same(key, said[key], value)
    }
    if corrected == (set_.manifest.get("corrected") or {}):
        return None
    holders = tuple(each.destination for each in parcels if may_hold(each))
    study_uid = {**said, **(set_.manifest.get("corrected") or {})}["StudyInstanceUID"]
    plan = Rewriting(
        corrected=corrected,
        uids=_new_uids(namespace, row, profile, originals),
        reason=wanted.reason,
        source=wanted.source,
        station=desk.station,
        at=local_time(now, about.inherited.utc_offset, desk.zone),
        predecessors=_reports(replaced, study_uid) if holders and set_.purpose == Purpose.RESULT else (),
    )
    made = tuple(
        keep_file(desk, row, old.kind, *rewritten(content, plan, is_report=old.kind == "sr"))
        for old, content in zip(originals, data, strict=True)
    )
    taken_back: Mapping[str, tuple[Artifact, tuple[str, ...]]] = {}
    if holders and set_.purpose != Purpose.WITHDRAWAL:
        withdrawal = Withdrawal(row.id, wanted.reason, Title.WRONG_WORKLIST_ENTRY, standing=REISSUED)
        taken_back = withdrawals.objects(desk, about, withdrawal, holders, understand_notes, now, set_)
    return Prepared(wanted, set_, row, profile, corrected, made, taken_back)


def _new_uids(namespace: UUID, row: Any, profile: str, originals: Sequence[Artifact]) -> dict[str, str]:
    uids = [uid for made in originals for uid in (made.sop_uid, made.series_uid)]
    return {uid: result_uid(namespace, row.key, f"{profile}/{uid}", row.issue, profile) for uid in uids}


def _reports(replaced: Sequence[Artifact], study_uid: str) -> list[Reference]:
    reports = [made for made in replaced if made.kind == "sr"]
    return [Reference(study_uid, made.series_uid, made.sop_class, made.sop_uid) for made in reports]


def current_sets(database: Database, study_id: int) -> tuple[int, ...]:
    """Sets of objects of a study that count, whatever they are for, but for those that take others back."""
    statement = (
        select(result_set.c.id)
        .join(job, job.c.id == result_set.c.job_id)
        .where(job.c.study_id == study_id, result_set.c.standing == "current")
        .where(result_set.c.purpose != Purpose.WITHDRAWAL)
        .order_by(result_set.c.id)
    )
    with database.read() as connection:
        return tuple(int(found) for found in connection.execute(statement).scalars())


def stragglers(database: Database, desk: Desk, understand_notes: Collection[str]) -> int:
    """Take back what reached one more destination, since a courier was at it when it was written anew."""
    told, to = result_set.alias(), parcel.alias()
    known = (
        exists()
        .where(told.c.job_id == result_set.c.job_id, to.c.result_set_id == told.c.id)
        .where(to.c.destination == parcel.c.destination)
        .where(told.c.profile.in_(withdrawals.profiles_for(result_set.c.profile)))
    )
    cancelled = (
        select(parcel.c.destination, parcel.c.error, parcel.c.taken, parcel.c.result_set_id)
        .join(result_set, result_set.c.id == parcel.c.result_set_id)
        .where(parcel.c.state == ParcelState.CANCELLED, result_set.c.purpose != Purpose.WITHDRAWAL, ~known)
    )
    with database.read() as connection:
        rows = connection.execute(cancelled).all()
    late = [each for each in rows if (each.error or {}).get("reason") == REISSUED and each.taken]
    return sum(_take_back_late(database, desk, each, understand_notes) for each in late)


def _take_back_late(database: Database, desk: Desk, late: Any, understand_notes: Collection[str]) -> int:
    with database.read() as connection:
        now = connection.execute(select(db_now())).scalar_one()
        set_ = connection.execute(select(result_set).where(result_set.c.id == late.result_set_id)).one()
        row = connection.execute(select(job).where(job.c.id == set_.job_id)).one()
        about = occasion(connection, desk, row, set_id=set_.id)
    withdrawal = Withdrawal(row.id, str(late.error.get("why", "")), Title.WRONG_WORKLIST_ENTRY, standing=REISSUED)
    made = withdrawals.objects(desk, about, withdrawal, (late.destination,), understand_notes, now, set_)
    with database.write() as connection:
        return len(withdrawals.tell(connection, row, made))


def _carry_out(connection: Connection, prepared: Prepared, by: str) -> int | None:
    wanted, old, row = prepared.wanted, prepared.set_, prepared.row
    standing = connection.execute(
        select(result_set.c.standing).where(result_set.c.id == old.id).with_for_update()
    ).scalar_one()
    if standing != "current":
        return None  # withdrawn, or replaced, meanwhile
    parcels = _parcels(connection, old.id, wanted.destinations)
    manifest = {
        **old.manifest,
        "corrected": dict(prepared.corrected),
        "of": old.manifest.get("of", old.id),
        "for": None if wanted.destinations is None else list(wanted.destinations),
        "study_uid": prepared.corrected.get("StudyInstanceUID") or old.manifest.get("study_uid"),
        "reason": wanted.reason,
        "source": wanted.source,
    }
    destinations = [each.destination for each in parcels if each.state != ParcelState.CANCELLED]
    set_id = insert_set(
        connection, row, prepared.made, destinations, manifest, profile=prepared.profile, purpose=Purpose(old.purpose)
    )
    _replace_parcels(connection, parcels, set_id, wanted.reason)
    _hold_what_a_person_held(connection, parcels, set_id)
    if wanted.destinations is None or not _left(connection, old.id):
        connection.execute(update(result_set).where(result_set.c.id == old.id).values(standing=REISSUED))
    told = withdrawals.tell(connection, row, prepared.taken_back)
    detail = {"set": set_id, "changed": sorted(prepared.corrected), "reason": wanted.reason, "source": wanted.source}
    detail |= {"to": destinations, "told": told}
    events.record(connection, "result reissued", by, detail, study_id=row.study_id, job_id=row.id)
    return set_id


def _replace_parcels(connection: Connection, parcels: list[Any], set_id: int, reason: str) -> None:
    ids = [each.id for each in parcels]
    message = f"written anew as result set {set_id}: {reason}"
    error = {"reason": REISSUED, "message": message, "remedy": "", "why": reason}
    old = update(parcel).where(parcel.c.id.in_(ids))
    connection.execute(old.where(parcel.c.state.in_(_UNSENT)).values(state=ParcelState.CANCELLED, error=error))
    # What is looked for and not found would be sent again.
    words = "not looked for any more: it was written anew"
    arrived = (ParcelState.SENT, ParcelState.PRESENT, ParcelState.COMMITTED)
    connection.execute(
        old.where(parcel.c.state.in_(arrived)).values(
            state=ParcelState.CANCELLED, verify_at=None, verification=words, error=error
        )
    )


def _hold_what_a_person_held(connection: Connection, parcels: list[Any], set_id: int) -> None:
    for each in parcels:
        if each.state == ParcelState.HELD and (each.error or {}).get("reason") not in DOUBTED:
            new = (parcel.c.result_set_id == set_id, parcel.c.destination == each.destination)
            connection.execute(update(parcel).where(*new).values(state=ParcelState.HELD, error=each.error))


def _left(connection: Connection, set_id: int) -> bool:
    """Whether the set still counts for a destination."""
    where = (parcel.c.result_set_id == set_id, parcel.c.state != ParcelState.CANCELLED)
    return connection.execute(select(parcel.c.id).where(*where).limit(1)).first() is not None


def _parcels(connection: Connection, set_id: int, destinations: tuple[str, ...] | None) -> list[Any]:
    statement = select(parcel).where(parcel.c.result_set_id == set_id).order_by(parcel.c.id)
    if destinations is not None:
        statement = statement.where(parcel.c.destination.in_(destinations))
    return list(connection.execute(statement).all())


def _root(connection: Connection, set_: Any) -> tuple[Any, str]:
    """The set that a worker, or this node, wrote first, and the profile of the next one that is made of it."""
    root_id = set_.manifest.get("of", set_.id)
    root = connection.execute(select(result_set).where(result_set.c.id == root_id)).one()
    of_job = select(result_set.c.profile).where(result_set.c.job_id == set_.job_id)
    start = f"{root.profile}-c"
    numbers = [
        int(found.removeprefix(start))
        for found in connection.execute(of_job).scalars()
        if found.startswith(start) and found.removeprefix(start).isdigit()
    ]
    return root, f"{start}{max(numbers, default=0) + 1}"


def _artifacts(connection: Connection, set_id: int) -> list[Any]:
    statement = select(artifact).where(artifact.c.result_set_id == set_id).order_by(artifact.c.id)
    return list(connection.execute(statement).all())


def _read(desk: Desk, made: Artifact) -> bytes:
    try:
        return desk.store.absolute(made.path).read_bytes()
    except OSError as error:
        raise HeaderError(
            f"our own file {made.path} cannot be read: {error.strerror or error}",
            reason="unreadable-file",
            remedy="restore it from a backup, or run the job again",
        ) from error
