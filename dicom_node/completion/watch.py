"""Watch open series and studies, and note when they are whole.

A rule may ask for a quiet period of its own. Series and studies become ready after the shortest that anybody asks
for; whoever wants a longer one waits on, counting from the time of the last image.

Times of arrival are those of the acceptor, which writes them into the files; they are compared with this process's
clock. Both run on one machine, or on machines whose clocks agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from dicom_node.archive import census, readiness
from dicom_node.archive.database import Database
from dicom_node.archive.readiness import Evidence, OpenSeries, OpenStudy
from dicom_node.completion.policy import CountFacts, SeriesFacts, StudyFacts, Verdict, judge_series, judge_study
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
        self._peers = settings.peers
        self._waiting: dict[int, tuple[datetime, datetime]] = {}  # series -> its last image; when to look again
        self._studies_again: list[datetime] = []  # when to look again at those that were looked at last
        self._next: datetime | None = None  # when something may have become whole by time alone

    def tick(self) -> int:
        """Judge whatever has been quiet long enough; returns how many series and studies became ready."""
        now = self._clock()
        after_end_s = self._completion.association_end_seconds
        series_s = self._series_quiet if after_end_s is None else min(self._series_quiet, after_end_s)
        series_before, study_before = (now - timedelta(seconds=each) for each in (series_s, self._study_quiet))
        quiet = readiness.quiet_series(self._database, series_before)
        self._waiting = {seen.id: self._waiting[seen.id] for seen in quiet if seen.id in self._waiting}
        ready = sum(self._judge_series(seen, now) for seen in quiet if not self._is_waiting(seen, now))
        studies = readiness.quiet_studies(self._database, study_before)
        self._studies_again.clear()
        ready += sum(self._judge_study(seen, now) for seen in studies)
        arriving = readiness.arriving(self._database, series_before, study_before)
        again = [when for _, when in self._waiting.values() if when > now]
        befores = (series_before, study_before)
        again += [last + (now - before) for last, before in zip(arriving, befores, strict=True) if last]
        self._next = min([*again, *self._studies_again], default=None)
        return ready

    def due_s(self) -> float:
        """Seconds from now until something may become whole, if nothing comes meanwhile."""
        return math.inf if self._next is None else max(0.0, (self._next - self._clock()).total_seconds())

    def _is_waiting(self, seen: OpenSeries, now: datetime) -> bool:
        last_received, again = self._waiting.get(seen.id, (None, now))
        return last_received == seen.last_received and now < again

    def _judge_series(self, seen: OpenSeries, now: datetime) -> bool:
        facts = SeriesFacts(
            modality=seen.modality,
            last_received=seen.last_received,
            association_ended=seen.association_ended,
            planes=readiness.planes(self._database, seen.id),
            localizer=seen.localizer,
            count=self._count(seen.calling_aes, "series", seen.study_id, seen.series_uid, seen.last_received),
            instances=seen.instances,
        )
        verdict = judge_series(facts, now, self._completion, self._series_quiet)
        if verdict.check_again_at is not None:
            self._waiting[seen.id] = seen.last_received, verdict.check_again_at
        if not verdict.ready and not verdict.held and verdict.reason == seen.reason:
            return False
        return readiness.note_series(self._database, seen, _evidence(verdict, now)) and verdict.ready

    def _judge_study(self, seen: OpenStudy, now: datetime) -> bool:
        count = self._count(seen.calling_aes, "study", seen.id, census.OF_STUDY, seen.last_received)
        facts = StudyFacts(seen.last_received, 0, seen.images, count)
        verdict = judge_study(facts, now, self._completion, self._study_quiet)
        if verdict.check_again_at is not None:
            self._studies_again.append(verdict.check_again_at)
        if not verdict.ready and not verdict.held and verdict.reason == seen.reason:
            return False
        return readiness.note_study(self._database, seen, _evidence(verdict, now)) and verdict.ready

    def _count(
        self, calling_aes: frozenset[str], what: str, study_id: int, series_uid: str, since: datetime
    ) -> CountFacts | None:
        """What the peer says that the first of its senders names for it; None where nobody is to be asked."""
        levels = ("series", "study") if what == "series" else ("study",)
        asked = [
            peer.count_at or peer.name for peer in self._peers if peer.ae_title in calling_aes and peer.count in levels
        ]
        if not asked:
            return None
        count = census.want(self._database, study_id, series_uid, asked[0], since)
        return CountFacts(count.peer, count.images, count.note, count.wanted_at, count.asked_at is not None)


def _evidence(verdict: Verdict, now: datetime) -> Evidence:
    return Evidence(verdict.ready, verdict.by, verdict.reason, now, held=verdict.held)


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
    readiness.close(database, study_id, Evidence(True, by, f"closed by {by}", _utc_now()))
