"""Which studies changed since one last looked, by the ledger alone: so a page hears of what another node did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from dicom_node.archive import events
from dicom_node.archive.database import Database
from dicom_node.archive.schema import job, parcel, study
from dicom_node.domain.job import UNFINISHED
from dicom_node.domain.parcel import ParcelState

MOST_EVENTS = 500  # that one look reads; after more it is said that anything may have changed
MOST_STUDIES = 200  # that are looked at for images that arrived: those to which one came last


@dataclass(slots=True)
class StudyChanges:
    """Tells what changed from one look to the next."""

    database: Database
    _last_event: int = -1
    _seen: dict[tuple[str, int], tuple[int, tuple[Any, ...]]] = field(default_factory=dict)

    def look(self) -> frozenset[int] | None:
        """Row ids of the studies that changed; None: too many did. The first look only takes note.

        Raises:
            LedgerError: the ledger does not answer.
        """
        first = self._last_event < 0
        newest = events.latest_id(self.database)
        happened = () if first else events.since(self.database, self._last_event, MOST_EVENTS)
        now = self._rows()
        before, self._seen, self._last_event = self._seen, now, newest
        if first:
            return frozenset()
        if len(happened) == MOST_EVENTS:
            return None
        changed = {each.study_id for each in happened if each.study_id is not None}
        for key in before.keys() | now.keys():
            if before.get(key) != now.get(key):
                changed.add((now.get(key) or before[key])[0])
        return frozenset(changed)

    def _rows(self) -> dict[tuple[str, int], tuple[int, tuple[Any, ...]]]:
        """What moves without an event: images that arrive, the progress of jobs, the next try of deliveries."""
        seen: dict[tuple[str, int], tuple[int, tuple[Any, ...]]] = {}
        row: Any
        with self.database.read() as connection:
            newest = select(study.c.id, study.c.revision, study.c.state).order_by(study.c.last_received.desc())
            for row in connection.execute(newest.limit(MOST_STUDIES)):
                seen["study", int(row.id)] = (int(row.id), (row.revision, row.state))
            jobs = select(job.c.id, job.c.study_id, job.c.state, job.c.progress, job.c.priority, job.c.question)
            for row in connection.execute(jobs.where(job.c.state.in_(UNFINISHED)).limit(MOST_STUDIES)):
                seen["job", int(row.id)] = (int(row.study_id), tuple(row)[2:])
            parcels = select(parcel.c.id, parcel.c.study_id, parcel.c.state, parcel.c.tries)
            for row in connection.execute(parcels.where(parcel.c.state == ParcelState.DUE).limit(MOST_STUDIES)):
                seen["parcel", int(row.id)] = (int(row.study_id), tuple(row)[2:])
        return seen
