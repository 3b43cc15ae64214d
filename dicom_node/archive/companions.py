"""Objects of a result set that a destination goes without: companions that it does not want, or does not take."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database
from dicom_node.archive.schema import parcel


def leave_out(
    database: Database, parcel_id: int, sop_uids: Collection[str], why: str = "", by: str = "courier"
) -> None:
    """Neither send these objects with a parcel nor look for them; ``why``: told in the history, where it is news."""
    with database.write() as connection:
        row = connection.execute(select(parcel).where(parcel.c.id == parcel_id)).one()
        left_out = sorted({*row.left_out, *sop_uids})
        connection.execute(update(parcel).where(parcel.c.id == parcel_id).values(left_out=left_out))
        if why:
            detail = {"destination": row.destination, "why": why}
            events.record(connection, "companion left out", by, detail, study_id=row.study_id, parcel_id=parcel_id)
