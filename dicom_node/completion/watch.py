"""Watch open series and studies, and note when they are whole.

A rule may ask for a quiet period of its own. Series and studies become ready after the shortest that anybody asks
for; whoever wants a longer one waits on, counting from the time of the last image.

Times of arrival are those of the acceptor, which writes them into the files; they are compared with this process's
clock. Both run on one machine, or on machines whose clocks agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Table, func, select, update

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.index_drafts import later
from dicom_node.archive.schema import instance, series, study
from dicom_node.completion.policy import BY, SeriesFacts, StudyFacts, Verdict, judge_series, judge_study
from dicom_node.domain.grid import ImagePlane
from dicom_node.domain.study import InstanceState, Readiness
from dicom_node.errors import LedgerError
from dicom_node.settings import Settings


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Watch:
    """Makes series and studies ready. Harmless if doubled."""

    def __init__(self, database: Database, settings: Settings, clock: Callable[[], datetime] = _utc_now) -> None:
        self._database = database
        self._completion = settings.completion
        self._clock = clock
        self._series_quiet = shortest_quiet(settings, "series")
        self._study_quiet = shortest_quiet(settings, "study")
        self._later: dict[int, tuple[datetime, datetime]] = {}  # series -> its last image; when to look again

    def tick(self) -> int:
        """Judge whatever has been quiet long enough; returns how many series and studies became ready."""
        now = self._clock()
        return sum(self._judge_series(row, now) for row in self._quiet_series(now)) + sum(
            self._judge_study(row, now) for row in self._quiet_studies(now)
        )

    def _quiet_series(self, now: datetime) -> list[Row[Any]]:
        statement = select(series).where(
            series.c.state == Readiness.OPEN,
            series.c.instances > 0,
            series.c.last_received <= now - timedelta(seconds=self._series_quiet),
        )
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
        waiting = {row.id: self._later[row.id] for row in rows if row.id in self._later}
        self._later = waiting
        return [row for row in rows if not row.readiness.get("unsettled") and not self._is_waiting(row, now)]

    def _is_waiting(self, row: Row[Any], now: datetime) -> bool:
        last_received, again = self._later.get(row.id, (None, now))
        return last_received == row.last_received and now < again

    def _judge_series(self, row: Row[Any], now: datetime) -> bool:
        with self._database.read() as connection:
            planes = _planes(connection, row.id)
        facts = SeriesFacts(
            modality=row.modality,
            last_received=row.last_received,
            association_ended=row.association_ended,
            planes=planes,
            localizer="LOCALIZER" in row.attributes.get("ImageType", ()),
        )
        verdict = judge_series(facts, now, self._completion, self._series_quiet)
        if verdict.check_again_at is not None:
            self._later[row.id] = row.last_received, verdict.check_again_at
        if not verdict.ready and verdict.reason == row.readiness.get("reason"):
            return False
        seen = series.c.last_received == row.last_received, series.c.instances == row.instances
        with self._database.write() as connection:
            if not _note(connection, series, row, verdict, now, *seen):
                return False  # more came meanwhile
            kind = "series ready" if verdict.ready else "series waits"
            detail = {"series_uid": row.series_uid, "by": verdict.by, "reason": verdict.reason}
            events.record(connection, kind, BY, detail, study_id=row.study_id, series_id=row.id)
            _touch(connection, row.study_id)
        return verdict.ready

    def _quiet_studies(self, now: datetime) -> list[Row[Any]]:
        whole = ~(
            select(series.c.id)
            .where(series.c.study_id == study.c.id, series.c.state != Readiness.READY, series.c.instances > 0)
            .exists()
        )
        statement = select(study).where(
            study.c.state == Readiness.OPEN,
            study.c.last_received <= now - timedelta(seconds=self._study_quiet),
            whole,
        )
        with self._database.read() as connection:
            return list(connection.execute(statement).all())

    def _judge_study(self, row: Row[Any], now: datetime) -> bool:
        with self._database.write() as connection:
            still_open = connection.execute(
                select(func.count())
                .select_from(series)
                .where(series.c.study_id == row.id, series.c.state != Readiness.READY, series.c.instances > 0)
            ).scalar_one()
            verdict = judge_study(StudyFacts(row.last_received, still_open), now, self._completion, self._study_quiet)
            seen = study.c.last_received == row.last_received
            if not verdict.ready or not _note(connection, study, row, verdict, now, seen):
                return False
            detail = {"by": verdict.by, "reason": verdict.reason}
            events.record(connection, "study ready", BY, detail, study_id=row.id)
            _touch(connection, row.id)
        return True


def shortest_quiet(settings: Settings, trigger: str) -> float:
    """Seconds: the shortest quiet period that anybody asks for, of series or of studies."""
    completion = settings.completion
    usual = completion.quiet_seconds if trigger == "series" else completion.study_quiet_seconds
    own = [rule.quiet_seconds for rule in settings.rules if rule.trigger == trigger and rule.quiet_seconds is not None]
    return min([usual, *own])


def close_study(database: Database, study_id: int, by: str) -> None:
    """Have a study and its series count as whole now, because a person says so; also one that was held.

    Raises:
        LedgerError: there is no such study.
    """
    now = _utc_now()
    verdict = Verdict(True, f"closed by {by}", by)
    with database.write() as connection:
        row = connection.execute(select(study).where(study.c.id == study_id)).first()
        if row is None:
            raise LedgerError(f"there is no study with the id {study_id}", reason="no-such-study")
        unready = select(series).where(series.c.study_id == study_id, series.c.state != Readiness.READY)
        for open_series in connection.execute(unready).all():
            if not open_series.readiness.get("unsettled"):  # ready by itself once it has been read anew
                _note(connection, series, open_series, verdict, now)
        _note(connection, study, row, verdict, now)
        detail = {"by": by, "was": row.state, "reason": str(row.readiness.get("reason", ""))}
        events.record(connection, "study closed", by, detail, study_id=study_id)
        _touch(connection, study_id)


def _note(connection: Connection, table: Table, row: Row[Any], verdict: Verdict, now: datetime, *seen: Any) -> bool:
    """Write a verdict, unless the row has changed from what was ``seen``."""
    readiness = {key: value for key, value in row.readiness.items() if key not in ("held_for", "remedy")}
    readiness |= {"by": verdict.by, "reason": verdict.reason, "at": now.isoformat()}
    state = Readiness.READY if verdict.ready else Readiness.OPEN
    where = (table.c.id == row.id, table.c.state == row.state, *seen)
    return connection.execute(update(table).where(*where).values(state=state, readiness=readiness)).rowcount == 1


def _touch(connection: Connection, study_id: int) -> None:
    """Let the rules look at a study."""
    row = connection.execute(select(study.c.changed_at, db_now().label("now")).where(study.c.id == study_id)).one()
    changed = later(row.changed_at, row.now)
    connection.execute(update(study).where(study.c.id == study_id).values(changed_at=changed))


def _planes(connection: Connection, series_id: int) -> list[ImagePlane | None]:
    current = (instance.c.series_id == series_id, instance.c.state == InstanceState.CURRENT)
    rows = connection.execute(select(instance.c.plane).where(*current)).scalars()
    return [None if plane is None else _plane(plane) for plane in rows]


def _plane(stored: Mapping[str, Any]) -> ImagePlane:
    return ImagePlane(
        rows=stored["rows"],
        columns=stored["columns"],
        pixel_spacing=tuple(stored["pixel_spacing"]),
        orientation=tuple(stored["orientation"]),
        position=tuple(stored["position"]),
    )
