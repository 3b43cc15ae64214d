"""Readiness of series and studies in the ledger: what is open, and what was found of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, func, select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.digests import WANTING
from dicom_node.archive.index_drafts import INCOMPLETE, later
from dicom_node.archive.schema import instance, series, study
from dicom_node.domain.grid import ImagePlane
from dicom_node.domain.study import InstanceState, Readiness
from dicom_node.errors import LedgerError

_REMEDY = "have the rest sent, or take it as it is with: dicom-node studies close"


@dataclass(frozen=True, slots=True)
class OpenSeries:
    """A series that is not known to be whole."""

    id: int
    study_id: int
    series_uid: str
    modality: str
    instances: int  # current ones
    last_received: datetime
    association_ended: datetime | None
    localizer: bool  # Image Type (0008,0008) of all its images says so
    reason: str  # what was found of it last
    calling_aes: frozenset[str]  # AE title of who sent it first


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that is not known to be whole, though all its series are."""

    id: int
    last_received: datetime
    reason: str = ""  # what was found of it last
    images: int = 0  # current ones of all its series
    calling_aes: frozenset[str] = frozenset()  # AE titles of who sent its series


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found of a series or study."""

    ready: bool
    by: str
    reason: str
    at: datetime
    held: bool = False  # it waits for a person


def quiet_series(database: Database, before: datetime) -> tuple[OpenSeries, ...]:
    """Open series that have been quiet since ``before``, and whose images have their digests."""
    undigested = select(instance.c.id).where(instance.c.series_id == series.c.id, WANTING).exists()
    where = series.c.state == Readiness.OPEN, series.c.instances > 0, series.c.last_received <= before, ~undigested
    with database.read() as connection:
        rows = connection.execute(select(series).where(*where).order_by(series.c.id)).all()
    return tuple(_open_series(row) for row in rows if not row.readiness.get("unsettled"))


def quiet_studies(database: Database, before: datetime) -> tuple[OpenStudy, ...]:
    """Open studies that have been quiet since ``before`` and whose series are all ready."""
    where = study.c.state == Readiness.OPEN, study.c.last_received <= before, ~_unready(study.c.id).exists()
    with database.read() as connection:
        rows = connection.execute(select(study).where(*where).order_by(study.c.id)).all()
        columns = (series.c.study_id, series.c.instances, series.c.calling_ae)
        of_these = select(*columns).where(series.c.study_id.in_([row.id for row in rows]))
        held = connection.execute(of_these).all()
    return tuple(
        OpenStudy(
            id=row.id,
            last_received=row.last_received,
            reason=str(row.readiness.get("reason", "")),
            images=sum(each.instances for each in held if each.study_id == row.id),
            calling_aes=frozenset(each.calling_ae for each in held if each.study_id == row.id),
        )
        for row in rows
    )


def arriving(
    database: Database, series_since: datetime, studies_since: datetime
) -> tuple[datetime | None, datetime | None]:
    """When the last image came of the open series, and of the open study, that will be quiet next; None: of none."""
    with database.read() as connection:
        in_series = series.c.state == Readiness.OPEN, series.c.instances > 0, series.c.last_received > series_since
        in_study = study.c.state == Readiness.OPEN, study.c.last_received > studies_since
        return (
            connection.execute(select(func.min(series.c.last_received)).where(*in_series)).scalar(),
            connection.execute(select(func.min(study.c.last_received)).where(*in_study)).scalar(),
        )


def planes(database: Database, series_id: int) -> tuple[ImagePlane | None, ...]:
    """Planes of the current instances of a series, of each frame of them; None for an instance without a position."""
    where = instance.c.series_id == series_id, instance.c.state == InstanceState.CURRENT
    with database.read() as connection:
        stored = connection.execute(select(instance.c.plane).where(*where)).scalars().all()
    return tuple(plane for told in stored for plane in ((None,) if told is None else _planes(told)))


def note_series(database: Database, seen: OpenSeries, found: Evidence) -> bool:
    """Write what was found of a series; False where more of it came meanwhile, and nothing was written."""
    unchanged = series.c.last_received == seen.last_received, series.c.instances == seen.instances
    with database.write() as connection:
        row = connection.execute(select(series).where(series.c.id == seen.id, *unchanged)).first()
        if row is None or not _note(connection, series, row, found, *unchanged):
            return False
        kind = "series ready" if found.ready else "series held" if found.held else "series waits"
        detail = {"series_uid": seen.series_uid, "by": found.by, "reason": found.reason}
        events.record(connection, kind, found.by, detail, study_id=seen.study_id, series_id=seen.id)
        _touch(connection, seen.study_id)
    return True


def note_study(database: Database, seen: OpenStudy, found: Evidence) -> bool:
    """Write what was found of a study; False where more of it came meanwhile, and nothing was written."""
    unchanged = study.c.last_received == seen.last_received, ~_unready(study.c.id).exists()
    with database.write() as connection:
        row = connection.execute(select(study).where(study.c.id == seen.id, *unchanged)).first()
        if row is None or not _note(connection, study, row, found, *unchanged):
            return False
        detail = {"by": found.by, "reason": found.reason}
        kind = "study ready" if found.ready else "study held" if found.held else "study waits"
        events.record(connection, kind, found.by, detail, study_id=seen.id)
        _touch(connection, seen.id)
    return True


def close(database: Database, study_id: int, found: Evidence) -> None:
    """Have a study and its series count as whole, whatever they wait for.

    Raises:
        LedgerError: there is no such study.
    """
    with database.write() as connection:
        row = connection.execute(select(study).where(study.c.id == study_id)).first()
        if row is None:
            raise LedgerError(f"there is no study with the id {study_id}", reason="no-such-study")
        unready = select(series).where(series.c.study_id == study_id, series.c.state != Readiness.READY)
        for open_series in connection.execute(unready).all():
            if not open_series.readiness.get("unsettled"):  # ready by itself once it has been read anew
                _note(connection, series, open_series, found)
        _note(connection, study, row, found)
        detail = {"by": found.by, "was": row.state, "reason": str(row.readiness.get("reason", ""))}
        events.record(connection, "study closed", found.by, detail, study_id=study_id)
        _touch(connection, study_id)


def _unready(study_id: ColumnElement[int]) -> Any:
    return select(series.c.id).where(
        series.c.study_id == study_id, series.c.state != Readiness.READY, series.c.instances > 0
    )


def _note(
    connection: Connection, table: Table, row: Row[Any], found: Evidence, *unchanged: ColumnElement[bool]
) -> bool:
    readiness = {key: value for key, value in row.readiness.items() if key not in ("held_for", "remedy")}
    readiness |= {"by": found.by, "reason": found.reason, "at": found.at.isoformat()}
    state = Readiness.READY if found.ready else Readiness.OPEN
    if found.held:
        state = Readiness.HELD
        readiness["remedy"] = _REMEDY
        if table is study:
            readiness["held_for"] = {INCOMPLETE: {"reason": found.reason, "remedy": _REMEDY}}
    where = table.c.id == row.id, table.c.state == row.state, *unchanged
    return connection.execute(update(table).where(*where).values(state=state, readiness=readiness)).rowcount == 1


def _touch(connection: Connection, study_id: int) -> None:
    """Let the rules look at a study."""
    row = connection.execute(select(study.c.changed_at, db_now().label("now")).where(study.c.id == study_id)).one()
    changed = later(row.changed_at, row.now)
    connection.execute(update(study).where(study.c.id == study_id).values(changed_at=changed))


def _open_series(row: Row[Any]) -> OpenSeries:
    image_type: str | Sequence[str] = row.attributes.get("ImageType", ())
    return OpenSeries(
        id=row.id,
        study_id=row.study_id,
        series_uid=row.series_uid,
        modality=row.modality,
        instances=row.instances,
        last_received=row.last_received,
        association_ended=row.association_ended,
        localizer="LOCALIZER" in image_type,
        reason=str(row.readiness.get("reason", "")),
        calling_aes=frozenset((row.calling_ae,)),
    )


def _planes(stored: Mapping[str, Any]) -> Iterator[ImagePlane]:
    for lying in stored["stacks"]:
        spacing, orientation = tuple(lying["pixel_spacing"]), tuple(lying["orientation"])
        for position in lying["positions"]:
            yield ImagePlane(stored["rows"], stored["columns"], spacing, orientation, tuple(position))
