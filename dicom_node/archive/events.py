"""The history: whatever happened, to what, by whom. Append only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from dicom_node.archive.database import Database, db_now
from dicom_node.archive.schema import event


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    id: int
    at: datetime
    kind: str
    by: str
    study_id: int | None
    job_id: int | None
    parcel_id: int | None
    detail: Mapping[str, Any]


_INSERT = insert(event).values(at=db_now())


def record(
    connection: Connection,
    kind: str,
    by: str,
    detail: Mapping[str, Any] | None = None,
    *,
    site_id: int = 1,
    study_id: int | None = None,
    series_id: int | None = None,
    job_id: int | None = None,
    parcel_id: int | None = None,
) -> None:
    """Add an event within the caller's transaction."""
    connection.execute(
        _INSERT,
        {
            "site_id": site_id,
            "kind": kind,
            "by": by,
            "study_id": study_id,
            "series_id": series_id,
            "job_id": job_id,
            "parcel_id": parcel_id,
            "detail": dict(detail or {}),
        },
    )


def history(database: Database, study_id: int) -> tuple[Event, ...]:
    """All that happened to a study, oldest first."""
    with database.read() as connection:
        rows = connection.execute(select(event).where(event.c.study_id == study_id).order_by(event.c.id)).all()
    return _events(rows)


def since(database: Database, event_id: int, limit: int = 500) -> tuple[Event, ...]:
    """Events after the one of that id, oldest first."""
    with database.read() as connection:
        statement = select(event).where(event.c.id > event_id).order_by(event.c.id).limit(limit)
        rows = connection.execute(statement).all()
    return _events(rows)


def latest_id(database: Database) -> int:
    """Id of the newest event, 0 when there is none."""
    with database.read() as connection:
        newest = connection.execute(select(event.c.id).order_by(event.c.id.desc()).limit(1)).scalar()
    return int(newest or 0)


def _events(rows: Sequence[Any]) -> tuple[Event, ...]:
    return tuple(
        Event(row.id, row.at, row.kind, row.by, row.study_id, row.job_id, row.parcel_id, row.detail) for row in rows
    )
