"""A destination refuses how results are encoded: the parcel ends, and the next profile that it takes has its place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from dicom_node.archive import encodings, events, refusals, withdrawals
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.own_objects import Desk, occasion
from dicom_node.archive.schema import job, parcel, result_set
from dicom_node.archive.withdrawals import Withdrawal
from dicom_node.domain.parcel import REISSUED, Parcel, ParcelState, Purpose
from dicom_node.domain.profile import Profile, base_of, first_of, order_of
from dicom_node.domain.rejection import Title
from dicom_node.errors import DicomNodeError


@dataclass(frozen=True, slots=True)
class FallBack:
    """What a destination gets instead, and why."""

    parcel: Parcel
    profile: Profile
    error: DicomNodeError  # how it refused
    lasting: bool = False  # it knows the SOP class or transfer syntax not: the next one would be refused like this one


def next_profile(database: Database, record: Parcel, taken: Sequence[Profile]) -> Profile | None:
    """What a destination gets of a result when it refuses this parcel; None: nothing else.

    ``taken``: what its entry says that it takes, in order; empty: the entry says nothing.
    """
    if record.purpose is not Purpose.RESULT or record.job_id is None:
        return None
    if base_of(record.profile) is order_of(taken, None)[-1] and len(taken) < 2:
        return None  # as most destinations have it, which need not be looked up
    with database.read() as connection:
        first = encodings.sets_of(connection, record.job_id)[0]
        sent = (
            select(result_set.c.profile)
            .join(parcel, parcel.c.result_set_id == result_set.c.id)
            .where(result_set.c.job_id == record.job_id, result_set.c.purpose == Purpose.RESULT)
            .where(parcel.c.destination == record.destination)
        )
        tried = {base_of(name) for name in connection.execute(sent).scalars()}
    asked = first.manifest.get("asked")
    possible = [Profile(name) for name in first.manifest.get("possible", ())]
    order = order_of(taken, Profile(asked) if asked else None)
    return first_of(order, possible, {profile for profile in tried if profile})


def fall_back(database: Database, desk: Desk, wanted: FallBack, understand_notes: Collection[str], by: str) -> bool:
    """Have the next profile encoded, if it is not yet, and sent. False: the parcel is not due any more.

    What the destination has nevertheless taken of the parcel is taken back, since it would be there twice.
    ``understand_notes``: names of the peers that understand rejection notes.

    Raises:
        HeaderError: no image of the job can be read, and something is to be taken back.
        OSError: the disk is full or fails.
    """
    taken_back = _taken_back(database, desk, wanted, understand_notes) if wanted.parcel.taken else {}
    record = wanted.parcel
    words = f"{wanted.error.message}; its results go there as {wanted.profile} instead"
    told = {"reason": encodings.OTHER_PROFILE, "message": words, "remedy": ""}
    values = {"state": ParcelState.CANCELLED, "tries": parcel.c.tries + 1, "error": told, "verify_at": None}
    try:
        with database.write() as connection:
            found = (parcel.c.id == record.id, parcel.c.state == ParcelState.DUE)
            set_id = connection.execute(select(parcel.c.result_set_id).where(*found)).scalar()
            old = connection.execute(select(result_set).where(result_set.c.id == set_id)).first()
            if old is None or old.standing != "current":
                return False
            # The set comes before the parcel, as in every other transaction, so that none waits for the other.
            encodings.request(connection, old.job_id, wanted.profile, [record.destination], by)
            if connection.execute(update(parcel).where(*found).values(**values)).rowcount != 1:
                raise _NotDueError
            row = connection.execute(select(job).where(job.c.id == old.job_id)).one()
            withdrawals.tell(connection, row, taken_back)
            encodings.step_back(connection, row.id)
            if wanted.lasting and (refused := base_of(old.profile)):
                refusals.remember(connection, record.destination, refused, wanted.error.message)
            detail = {"destination": record.destination, "refused": old.profile, "next": str(wanted.profile)}
            detail["why"] = wanted.error.message
            events.record(
                connection, "profile refused", by, detail, study_id=row.study_id, job_id=row.id, parcel_id=record.id
            )
    except (IntegrityError, _NotDueError):
        return False  # another process was faster, or a person; it is seen to at the next try
    return True


class _NotDueError(Exception):
    """The parcel is not due any more: nothing of the transaction counts."""


def _taken_back(database: Database, desk: Desk, wanted: FallBack, understand_notes: Collection[str]) -> Any:
    record = wanted.parcel
    with database.read() as connection:
        now = connection.execute(select(db_now())).scalar_one()
        set_id = select(parcel.c.result_set_id).where(parcel.c.id == record.id).scalar_subquery()
        set_ = connection.execute(select(result_set).where(result_set.c.id == set_id)).one()
        row = connection.execute(select(job).where(job.c.id == set_.job_id)).one()
        about = occasion(connection, desk, row, set_id=set_.id)
    reason = "the same result is there in another encoding"
    withdrawal = Withdrawal(row.id, reason, Title.QUALITY, standing=REISSUED)
    return withdrawals.objects(desk, about, withdrawal, (record.destination,), understand_notes, now, set_)
