"""SHA-256 of received objects: computed from the disk once they have come to rest, so that nothing waits for it.

Until then its place in the index is empty, and a series with such an object is not whole yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from isal.isal_zlib import crc32
from sqlalchemy import ColumnElement, and_, bindparam, or_, select

from dicom_node.archive.database import Database
from dicom_node.archive.header import seal_in
from dicom_node.archive.part10 import read_meta
from dicom_node.archive.receipt import seal
from dicom_node.archive.schema import instance, series
from dicom_node.domain.study import InstanceState
from dicom_node.errors import NotDicomError

_PIECE = 1 << 18

# As in the partial index of the table: literal, or SQLite does not use it.
WANTING: ColumnElement[bool] = and_(
    instance.c.digest == bindparam("none", "", literal_execute=True),
    instance.c.state != bindparam("rejected", InstanceState.REJECTED.value, literal_execute=True),
)


@dataclass(frozen=True, slots=True)
class Undigested:
    """A received object without a digest."""

    id: int
    path: str  # relative to the data directory


class Digests:
    """Reads and writes of the index. Harmless if doubled: the same bytes give the same digest."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(
        self, quiet_since: datetime, received_before: datetime, without: Collection[int], limit: int
    ) -> tuple[Undigested, ...]:
        """Objects whose series has been quiet, or whose association has ended, or that have waited for long."""
        at_rest = or_(
            instance.c.series_id.is_(None),
            series.c.last_received <= quiet_since,
            series.c.association_ended >= series.c.last_received,
            instance.c.received_at <= received_before,
        )
        statement = (
            select(instance.c.id, instance.c.path)
            .join(series, series.c.id == instance.c.series_id, isouter=True)
            .where(WANTING, at_rest, instance.c.id.not_in(without))
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
        return tuple(Undigested(row.id, row.path) for row in rows)

    def wanting(self) -> bool:
        """Whether any object has no digest yet."""
        with self._database.read() as connection:
            return bool(connection.execute(select(select(instance.c.id).where(WANTING).exists())).scalar())

    def note(self, digests: Mapping[int, str]) -> None:
        """Write digests by the id of the object."""
        if not digests:
            return
        with self._database.write() as connection:
            mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
            statement = f"UPDATE instance SET digest = {mark} WHERE id = {mark} AND digest = ''"  # noqa: S608
            connection.exec_driver_sql(statement, [(digest, row_id) for row_id, digest in digests.items()])


def digest_of(path: Path) -> str:
    """SHA-256 of the data set of a received object, which is seen to be as it was received.

    Raises:
        NotDicomError: it is not; its seal does not fit.
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    size = crc = 0
    with path.open("rb") as file:
        stated = seal_in(read_meta(file, path))
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
            crc = crc32(piece, crc)
    if stated not in (None, seal(size, crc).decode("ascii")):
        raise NotDicomError(
            f"{path} is not what was received: it has changed on the disk",
            reason="altered",
            remedy="look for faults of the disk, and have the object sent again",
        )
    return digest.hexdigest()
