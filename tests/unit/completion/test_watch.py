from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dicom_node.archive.schema import series, study
from dicom_node.completion.watch import Watch, close_study, shortest_quiet
from dicom_node.errors import LedgerError
from dicom_node.settings import RuleSettings, Settings

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)  # when the images of the fixture came


class Clock:
    """A clock that is set by hand, in seconds after the images came."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(archive: Any, clock: Clock) -> Watch:
    return Watch(archive.database, Settings(), clock)


def readiness(archive: Any) -> tuple[str, list[str]]:
    return archive.rows(study)[0].state, [row.state for row in archive.rows(series)]


def test_a_series_becomes_ready_and_then_its_study(archive: Any, watch: Watch, clock: Clock) -> None:
    archive.add(*(archive.image(number) for number in (1, 2, 3)))
    before = archive.rows(study)[0].changed_at

    clock.seconds = 29
    assert watch.tick() == 0
    assert readiness(archive) == ("open", ["open"])

    clock.seconds = 30
    assert watch.tick() == 1
    assert readiness(archive) == ("open", ["ready"])
    (row,) = archive.rows(series)
    assert row.readiness["reason"] == "no new image for 30 s, 3 slices without a gap"
    assert row.readiness["at"] == clock().isoformat()
    (told,) = archive.events("series ready")
    assert told["reason"] == row.readiness["reason"]
    assert archive.rows(study)[0].changed_at > before

    clock.seconds = 300
    assert watch.tick() == 1
    assert watch.tick() == 0
    assert readiness(archive) == ("ready", ["ready"])
    assert len(archive.events("study ready")) == 1


def test_a_missing_slice_is_waited_for_and_its_arrival_makes_the_series_ready(
    archive: Any, watch: Watch, clock: Clock
) -> None:
    archive.add(*(archive.image(number) for number in (1, 2, 3, 5)))

    clock.seconds = 30
    for _ in range(3):
        assert watch.tick() == 0
    (told,) = archive.events("series waits")
    assert "1 slice(s) missing" in told["reason"]
    assert "1 slice(s) missing" in archive.rows(series)[0].readiness["reason"]

    archive.add(archive.image(4), received=START + timedelta(seconds=60))
    clock.seconds = 89
    assert watch.tick() == 0
    clock.seconds = 90
    assert watch.tick() == 1


def test_a_gap_that_stays_is_told_after_a_while(archive: Any, watch: Watch, clock: Clock) -> None:
    archive.add(*(archive.image(number) for number in (1, 2, 3, 5)))
    clock.seconds = 300
    watch.tick()
    assert readiness(archive) == ("open", ["open"])
    clock.seconds = 3600
    assert watch.tick() == 2  # the series, and then its study
    assert "missing" in archive.rows(series)[0].readiness["reason"]


def test_a_late_image_begins_anew(archive: Any, watch: Watch, clock: Clock) -> None:
    archive.add(archive.image(1), archive.image(2))
    clock.seconds = 300
    watch.tick()
    assert readiness(archive) == ("ready", ["ready"])

    archive.add(archive.image(3), received=START + timedelta(seconds=400))
    assert readiness(archive) == ("open", ["open"])
    clock.seconds = 430
    watch.tick()
    assert readiness(archive) == ("open", ["ready"])


def test_a_series_with_revisions_to_be_read_waits_for_that(archive: Any, watch: Watch, clock: Clock) -> None:
    archive.add(archive.image(1), archive.image(2))
    archive.add(archive.image(1, AccessionNumber="A2"))
    clock.seconds = 60
    assert watch.tick() == 0
    archive.index.settle()
    assert watch.tick() == 1


def test_what_came_while_it_was_judged_is_not_overlooked(
    archive: Any, watch: Watch, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add(archive.image(1), archive.image(2))
    clock.seconds = 30

    def arrives(*args: object) -> tuple[None, ...]:
        monkeypatch.undo()
        archive.add(archive.image(3), received=clock())
        return None, None

    monkeypatch.setattr("dicom_node.archive.readiness.planes", arrives)
    assert watch.tick() == 0
    assert readiness(archive) == ("open", ["open"])


def test_a_study_that_is_held_stays_so_until_a_person_closes_it(archive: Any, watch: Watch, clock: Clock) -> None:
    archive.add(archive.image(1), archive.image(2, PatientID="P2"))
    clock.seconds = 300
    watch.tick()
    assert readiness(archive) == ("held", ["ready"])

    close_study(archive.database, 1, "alice")

    (row,) = archive.rows(study)
    assert (row.state, row.readiness["by"], row.readiness["reason"]) == ("ready", "alice", "closed by alice")
    assert "held_for" not in row.readiness
    (told,) = archive.events("study closed")
    assert told["was"] == "held"
    assert "two patients" in told["reason"]
    # More of the same does not hold it again.
    archive.add(archive.image(3, PatientID="P2"))
    assert archive.rows(study)[0].state == "open"


def test_closing_makes_everything_ready_at_once(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(4), archive.image(5))
    before = archive.rows(study)[0].changed_at
    close_study(archive.database, 1, "alice")
    assert readiness(archive) == ("ready", ["ready"])
    assert archive.rows(study)[0].changed_at > before


def test_only_a_study_that_exists_can_be_closed(archive: Any) -> None:
    with pytest.raises(LedgerError, match="no study"):
        close_study(archive.database, 5, "alice")


def test_the_shortest_quiet_period_counts() -> None:
    def rule(name: str, **values: Any) -> RuleSettings:
        return RuleSettings(name=name, model="m", **values)

    rules = (rule("a", quiet_seconds=10.0), rule("b"), rule("c", quiet_seconds=5.0, trigger="study"))
    assert shortest_quiet(Settings(rules=rules), "series") == 10
    assert shortest_quiet(Settings(rules=rules), "study") == 5
    assert shortest_quiet(Settings(rules=(rule("a", quiet_seconds=99.0),)), "series") == 30


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("ct_chest_lungdx_A0002", "30 slices without a gap"),
        ("geometry_failing/gantrytilting", "the gantry was tilted"),
        ("geometry_failing/sliceorientation", "different orientations"),
    ],
)
def test_real_series_are_judged_by_their_geometry(
    archive: Any, watch: Watch, clock: Clock, test_data: Path, folder: str, reason: str
) -> None:
    archive.add(*(path.read_bytes() for path in sorted((test_data / folder).rglob("*.dcm"))))
    clock.seconds = 365 * 86400.0
    assert watch.tick() >= 1
    assert reason in archive.rows(series)[0].readiness["reason"]


@pytest.mark.data
def test_a_real_series_with_a_missing_slice_waits(archive: Any, clock: Clock, test_data: Path) -> None:
    archive.add(*(path.read_bytes() for path in sorted((test_data / "geometry_failing/sliceincrement").rglob("*.dcm"))))
    last = archive.rows(series)[0].last_received
    watch = Watch(archive.database, Settings(), lambda: last + timedelta(seconds=31))
    assert watch.tick() == 0
    assert "1 slice(s) missing" in archive.rows(series)[0].readiness["reason"]


@pytest.mark.parametrize("numbers", [(1, 2, 3), (1, 2, 4)])
def test_looking_only_when_it_says_so_misses_nothing(
    archive: Any, clock: Clock, numbers: tuple[int, ...], watch: Watch
) -> None:
    archive.add(*(archive.image(number) for number in numbers))
    settled: list[tuple[float, tuple[str, list[str]]]] = []
    while True:
        watch.tick()
        settled.append((clock.seconds, readiness(archive)))
        due_s = watch.due_s()
        if due_s == math.inf:
            break
        assert due_s > 0
        clock.seconds += due_s
    completion = Settings().completion
    ready_s = (
        completion.quiet_seconds
        if numbers[-1] == 3
        else min(completion.gap_wait_seconds, completion.maximum_wait_seconds)
    )
    assert settled[0] == (0, ("open", ["open"]))
    assert min(at for at, (_, whole) in settled if whole == ["ready"]) == ready_s
    assert settled[-1] == (max(ready_s, completion.study_quiet_seconds), ("ready", ["ready"]))
    assert len(settled) < 8
