"""The index: which studies, series and instances there are, and which of several objects counts.

One thread of each node writes it, many objects a transaction, one transaction at a time. Every stored object gets
exactly one row, whatever becomes of it, and adding an object again changes nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select, update

from dicom_node.archive.agreement import agree
from dicom_node.archive.database import Database, among
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.header import read_header, with_digests
from dicom_node.archive.index_batch import Arrival, Batch, Rejection
from dicom_node.archive.index_drafts import VIEWED, patient_of
from dicom_node.archive.schema import instance, series, study
from dicom_node.domain.study import Header, InstanceState, Readiness, SeriesView, StudyView
from dicom_node.errors import DicomNodeError, LedgerError

LOGGER = logging.getLogger(__name__)

_MOST_ASSOCIATIONS = 256
_WRITERS = 0x696E6478  # any constant: the indexers of several nodes must not pass each other on PostgreSQL


class Index:
    """Studies, series and instances. Only one thread of a process may write; any may read."""

    def __init__(self, database: Database, data_dir: Path, site_id: int = 1) -> None:
        self.database = database
        self._store = ObjectStore(data_dir)
        self._site_id = site_id
        self._brought: dict[str, set[int]] = {}  # association -> series it brought, lately

    def known(self, paths: Sequence[str]) -> set[str]:
        """Those of the paths (relative to the data directory) that stand in the index."""
        with self.database.read() as connection:
            return set(connection.execute(select(instance.c.path).where(among(instance.c.path, paths))).scalars())

    def add(self, objects: Sequence[Arrival | Rejection]) -> None:
        """Take in stored objects in one transaction.

        Raises:
            LedgerError: the database failed; nothing was changed.
            OSError: an object that came before cannot be read to be compared; nothing was changed.
        """
        objects = self._in_full(objects)
        with self.database.write(alone=_WRITERS) as connection:
            batch = Batch(connection, self._store, self._site_id)
            batch.load(objects)
            for item in objects:
                batch.take(item)
            batch.write()
        for association, series_ids in batch.brought.items():
            self._brought.setdefault(association, set()).update(series_ids)
        while len(self._brought) > _MOST_ASSOCIATIONS:
            self._brought.pop(next(iter(self._brought)))

    def _in_full(self, objects: Sequence[Arrival | Rejection]) -> list[Arrival | Rejection]:
        """With the digests of those that have a SOP Instance UID which is known: they are to be compared."""
        uids = Counter(item.header.sop_instance_uid for item in objects if isinstance(item, Arrival))
        which = instance.c.site_id == self._site_id, among(instance.c.sop_uid, uids)
        with self.database.read() as connection:
            known = set(connection.execute(select(instance.c.sop_uid).where(*which)).scalars())
        known |= {uid for uid, count in uids.items() if count > 1}
        return [
            replace(item, header=with_digests(item.header, self._store.absolute(item.path)))
            if isinstance(item, Arrival) and item.header.sop_instance_uid in known
            else item
            for item in objects
        ]

    def association_ended(self, association: str, at: datetime) -> None:
        """Note that the association which brought some series is over. A hint, lost when the node restarts."""
        series_ids = self._brought.pop(association, set())
        if series_ids:
            with self.database.write() as connection:
                connection.execute(update(series).where(series.c.id.in_(series_ids)).values(association_ended=at))

    def settle(self, most: int = 10) -> int:
        """Read again what the instances of some series agree on, after revisions came in; the number of series.

        Until then an attribute that has changed counts as varying, and the series does not become ready.
        """
        with self.database.read() as connection:
            rows = connection.execute(select(series.c.id, series.c.readiness).where(series.c.state == Readiness.OPEN))
            due = [int(row.id) for row in rows if row.readiness.get("unsettled")][:most]
        for series_id in due:
            self._settle(series_id)
        return len(due)

    def study_view(self, study_id: int) -> StudyView:
        """A study as rules see it: with its routed and backfilled series.

        Raises:
            LedgerError: there is no such study.
        """
        with self.database.read() as connection:
            row = connection.execute(select(study).where(study.c.id == study_id)).first()
            if row is None:
                raise LedgerError(f"there is no study with the id {study_id}", reason="no-such-study")
            views = _series_views(connection, study_id)
        return StudyView(
            id=row.id,
            site_id=row.site_id,
            study_instance_uid=row.study_uid,
            readiness=Readiness(row.state),
            readiness_reason=str(row.readiness.get("reason", "")),
            series=views,
            last_received=row.last_received,
            attributes=row.attributes,
        )

    def _settle(self, series_id: int) -> None:
        with self.database.read() as connection:
            current = (instance.c.series_id == series_id, instance.c.state == InstanceState.CURRENT)
            paths = connection.execute(select(instance.c.path).where(*current).order_by(instance.c.id)).scalars().all()
        headers = list(self._headers(paths))
        with self.database.write(alone=_WRITERS) as connection:
            batch = Batch(connection, self._store, self._site_id)
            patients = sorted({patient_of(header) for header in headers if header.patient_id})
            batch.settle(series_id, agree(header.attributes for header in headers), patients)
            batch.write()

    def _headers(self, paths: Iterable[str]) -> Iterator[Header]:
        for path in paths:
            try:
                yield read_header(self._store.absolute(path))
            except (DicomNodeError, OSError) as error:
                LOGGER.error("an object of the index cannot be read any more: %s", error)


def _series_views(connection: Connection, study_id: int) -> tuple[SeriesView, ...]:
    rows = connection.execute(
        select(series)
        .where(series.c.study_id == study_id, series.c.origin.in_(VIEWED), series.c.instances > 0)
        .order_by(series.c.id)
    )
    return tuple(_series_view(row) for row in rows)


def _series_view(row: Row[Any]) -> SeriesView:
    return SeriesView(
        id=row.id,
        series_instance_uid=row.series_uid,
        attributes=row.attributes,
        varying=frozenset(row.varying),
        instances=row.instances,
        peer=row.peer,
        called_ae=row.called_ae,
        calling_ae=row.calling_ae,
        readiness=Readiness(row.state),
        readiness_reason=str(row.readiness.get("reason", "")),
        last_received=row.last_received,
        association_ended=row.association_ended,
    )


__all__ = ["Arrival", "Index", "Rejection"]
