"""The work list: what happened to results after they were made, and has to be seen to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.schema import open_item, study
from dicom_node.errors import LedgerError

WITHDRAW = "withdraw"  # the kind that the node sees to itself


@dataclass(frozen=True, slots=True)
class OpenItem:
    """One matter."""

    id: int
    kind: str
    study_id: int
    study_uid: str
    job_id: int | None
    reason: str
    remedy: str
    created_at: datetime


def open_(
    connection: Connection, key: str, kind: str, study_id: int, job_id: int | None, reason: str, remedy: str
) -> None:
    """Open a matter within the caller's transaction; one that was opened before, or closed, changes nothing."""
    if connection.execute(select(open_item.c.id).where(open_item.c.key == key)).first() is not None:
        return
    values = {"key": key, "kind": kind, "study_id": study_id, "job_id": job_id, "reason": reason, "remedy": remedy}
    connection.execute(insert(open_item).values(**values, site_id=1, created_at=db_now()))
    detail = {"kind": kind, "reason": reason, "remedy": remedy}
    events.record(connection, "item opened", "node", detail, study_id=study_id, job_id=job_id)


def close(connection: Connection, item_id: int, by: str) -> bool:
    """Close a matter within the caller's transaction; False when it was not open."""
    row = connection.execute(
        update(open_item)
        .where(open_item.c.id == item_id, open_item.c.closed_at.is_(None))
        .values(closed_at=db_now(), closed_by=by)
        .returning(open_item.c.study_id, open_item.c.job_id, open_item.c.kind)
    ).first()
    if row is None:
        return False
    events.record(connection, "item closed", by, {"kind": row.kind}, study_id=row.study_id, job_id=row.job_id)
    return True


def close_of_job(connection: Connection, job_id: int, by: str) -> None:
    """Close whatever is open about the result of a job: it is withdrawn or replaced."""
    where = (open_item.c.job_id == job_id, open_item.c.closed_at.is_(None))
    for item_id in list(connection.execute(select(open_item.c.id).where(*where)).scalars()):
        close(connection, item_id, by)


def close_by_hand(database: Database, item_id: int, by: str) -> None:
    """Close a matter because a person has seen to it.

    Raises:
        LedgerError: it is not open.
    """
    with database.write() as connection:
        if not close(connection, item_id, by):
            raise LedgerError(f"there is no open item {item_id}", reason="no-such-item", remedy="dicom-node items list")


def listed(
    database: Database, *, kind: str = "", study_id: int | None = None, limit: int = 200
) -> tuple[OpenItem, ...]:
    """Open matters, the oldest first."""
    statement = (
        select(open_item, study.c.study_uid)
        .join(study, study.c.id == open_item.c.study_id)
        .where(open_item.c.closed_at.is_(None))
        .order_by(open_item.c.id)
        .limit(limit)
    )
    if kind:
        statement = statement.where(open_item.c.kind == kind)
    if study_id is not None:
        statement = statement.where(open_item.c.study_id == study_id)
    with database.read() as connection:
        rows = connection.execute(statement).all()
    return tuple(
        OpenItem(row.id, row.kind, row.study_id, row.study_uid, row.job_id, row.reason, row.remedy, row.created_at)
        for row in rows
    )


def counts(connection: Connection, study_ids: Collection[int] | None = None) -> dict[int, int]:
    """How many matters are open of each of these studies, or of all."""
    statement = select(open_item.c.study_id, func.count()).where(open_item.c.closed_at.is_(None))
    if study_ids is not None:
        statement = statement.where(open_item.c.study_id.in_(study_ids))
    rows = connection.execute(statement.group_by(open_item.c.study_id)).all()
    return {int(study_id): int(count) for study_id, count in rows}
