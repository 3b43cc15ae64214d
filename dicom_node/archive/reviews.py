"""Delivered results that are compared with their destination's record again, and what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from sqlalchemy import func, select, update

from dicom_node.archive import open_items
from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.schema import parcel, result_set
from dicom_node.domain.parcel import Parcel, ParcelState, Purpose

DAY_S = 86400.0
_ARRIVED = (ParcelState.SENT, ParcelState.PRESENT, ParcelState.COMMITTED)


def due(database: Database, destinations: Collection[str], days: float, limit: int) -> list[int]:
    """Parcels of results that count and were delivered within so many days, and not looked at for a day."""
    statement = (
        select(parcel.c.id)
        .join(result_set, result_set.c.id == parcel.c.result_set_id)
        .where(parcel.c.sent_at > db_later(-days * DAY_S), parcel.c.state.in_(_ARRIVED))
        .where(parcel.c.destination.in_(destinations))
        .where(func.coalesce(parcel.c.reviewed_at, parcel.c.sent_at) < db_later(-DAY_S))
        .where(result_set.c.standing == "current", result_set.c.purpose == Purpose.RESULT)
        .order_by(func.coalesce(parcel.c.reviewed_at, parcel.c.sent_at), parcel.c.id)
        .limit(limit)
    )
    with database.read() as connection:
        return [int(number) for number in connection.execute(statement).scalars()]


def reviewed(database: Database, parcel_id: int, words: str) -> None:
    """It is not looked at again for a day. ``words``: what the record said."""
    with database.write() as connection:
        values = {"reviewed_at": db_now(), "record": words, "doubts": 0}
        connection.execute(update(parcel).where(parcel.c.id == parcel_id).values(**values))


def doubted(database: Database, parcel_id: int, words: str, pause_s: float) -> None:
    """The record does not fit; it is asked again after the pause, before anything is done."""
    with database.write() as connection:
        values = {"reviewed_at": db_later(pause_s - DAY_S), "record": words, "doubts": parcel.c.doubts + 1}
        connection.execute(update(parcel).where(parcel.c.id == parcel_id).values(**values))


def open_item(database: Database, record: Parcel, kind: str, words: str, remedy: str, difference: str) -> None:
    """A person has to see to it; once for each difference."""
    told = hashlib.sha256(difference.encode()).hexdigest()[:16]
    with database.write() as connection:
        values = {"reviewed_at": db_now(), "record": words, "doubts": 0}
        row = connection.execute(
            update(parcel).where(parcel.c.id == record.id).values(**values).returning(parcel.c.study_id)
        ).one()
        key = f"{kind}:delivered:{record.id}:{told}"
        open_items.open_(connection, key, kind, row.study_id, record.job_id, words, remedy)
