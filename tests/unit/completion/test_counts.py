"""The count of the sender: asked once, waited for, and what then happens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dicom_node.archive.schema import census, series, study
from dicom_node.completion.counts import Counter
from dicom_node.completion.watch import Watch, close_study
from dicom_node.dimse.find import Reported
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, Settings

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)  # when the images of the fixture came
STUDY, SERIES = "1.2.3.1", "1.2.3.1.1"


class Bench:
    """A watch and a counter on an archive, with a clock that is set by hand and a peer that says what it is told to."""

    def __init__(self, archive: Any, *, after_maximum: str = "take", level: str = "study") -> None:
        peer = {"name": "pacs", "ae_title": "MODALITY", "host": "127.0.0.1", "port": 104, "count": level}
        self.settings = Settings.model_validate({"peers": [peer], "completion": {"after_maximum": after_maximum}})
        self.archive = archive
        self.seconds = 0.0
        self.answer: Reported | PeerError = Reported(None, {}, known=False)
        self.asked: list[str] = []
        self.watch = Watch(archive.database, self.settings, lambda: START + timedelta(seconds=self.seconds))
        self.counter = Counter(archive.database, self.settings, self._ask)

    def _ask(self, peer: PeerSettings, calling_ae: str, study_uid: str, timeout_s: float) -> Reported:
        self.asked.append(study_uid)
        if isinstance(self.answer, PeerError):
            raise self.answer
        return self.answer

    def at(self, seconds: float) -> tuple[str, str]:
        """State of series and study when the watch has looked, the peer was asked, and it has looked again."""
        self.seconds = seconds
        self.watch.tick()
        self.counter.tick()
        self.seconds += 5  # so that it looks again
        self.watch.tick()
        return self.archive.rows(series)[0].state, self.archive.rows(study)[0].state

    def reason(self) -> str:
        return str(self.archive.rows(series)[0].readiness["reason"])


@pytest.fixture
def bench(archive: Any) -> Bench:
    archive.add(*(archive.image(number) for number in (1, 2, 3)))
    return Bench(archive)


def test_a_series_waits_until_as_many_are_here_as_the_sender_has(bench: Bench) -> None:
    bench.answer = Reported(4, {SERIES: 4}, known=True)
    assert bench.at(30) == ("open", "open")
    assert "pacs has 4 images, 3 are here" in bench.reason()
    assert bench.archive.events("series waits")[-1]["reason"] == bench.reason()

    bench.archive.add(bench.archive.image(4), received=START + timedelta(seconds=60))
    assert bench.at(90) == ("ready", "open")
    assert "pacs has 4 images, 4 are here" in bench.reason()
    assert bench.at(360) == ("ready", "ready")
    assert "pacs has 4 images, 4 are here" in bench.archive.rows(study)[0].readiness["reason"]


def test_the_sender_is_not_asked_again_while_nothing_changes(bench: Bench) -> None:
    bench.answer = Reported(3, {SERIES: 3}, known=True)
    bench.at(30)
    bench.at(60)
    assert bench.asked == [STUDY]


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (Reported(None, {}, known=False), "pacs does not know the study"),
        (Reported(None, {SERIES: None}, known=True), "pacs does not tell how many images it has"),
        (PeerError("pacs: refused", reason="refused"), "pacs could not be asked how many images it has (refused)"),
    ],
)
def test_a_sender_that_cannot_tell_is_noted_and_holds_up_nothing(
    bench: Bench, answer: Reported | PeerError, note: str
) -> None:
    bench.answer = answer
    assert bench.at(30) == ("ready", "open")
    assert note in bench.reason()


def test_a_series_of_the_study_that_never_came_is_noticed(bench: Bench) -> None:
    bench.answer = Reported(10, {SERIES: 3, "1.2.9": 7}, known=True)
    assert bench.at(30) == ("ready", "open")
    assert bench.at(300) == ("ready", "open")
    assert "pacs has 10 images, 3 are here" in bench.archive.rows(study)[0].readiness["reason"]


def test_only_series_are_counted_where_only_they_are_to_be(archive: Any) -> None:
    archive.add(*(archive.image(number) for number in (1, 2, 3)))
    bench = Bench(archive, level="series")
    bench.answer = Reported(10, {SERIES: 3, "1.2.9": 7}, known=True)
    bench.at(30)
    assert bench.at(300) == ("ready", "ready")


def test_what_stays_missing_is_taken_as_it_is(bench: Bench) -> None:
    bench.answer = Reported(4, {SERIES: 4}, known=True)
    bench.at(30)
    assert bench.at(7200)[0] == "ready"
    assert "taken as it is, though pacs has 4 images, 3 are here" in bench.reason()


def test_what_stays_missing_is_held_until_it_comes_or_a_person_closes_it(archive: Any) -> None:
    archive.add(*(archive.image(number) for number in (1, 2, 3)))
    bench = Bench(archive, after_maximum="hold")
    bench.answer = Reported(4, {SERIES: 4}, known=True)
    bench.at(30)
    assert bench.at(7200) == ("held", "open")
    (told,) = archive.events("series held")
    assert "pacs has 4 images, 3 are here" in told["reason"]

    archive.add(archive.image(4), received=START + timedelta(seconds=7300))
    assert archive.rows(series)[0].state == "open"
    assert bench.at(7330)[0] == "ready"


def test_a_held_study_is_released_by_what_comes(archive: Any) -> None:
    archive.add(*(archive.image(number) for number in (1, 2, 3)))
    bench = Bench(archive, after_maximum="hold")
    bench.answer = Reported(10, {SERIES: 3, "1.2.9": 7}, known=True)
    bench.at(30)
    bench.at(300)
    assert bench.at(7200) == ("ready", "held")
    archive.add(archive.image(4), received=START + timedelta(seconds=7300))
    assert archive.rows(study)[0].state == "open"
    assert len(archive.events("study released")) == 1
    close_study(archive.database, 1, "admin")
    assert archive.rows(study)[0].state == "ready"


def test_a_peer_that_is_gone_from_the_settings_is_not_asked(bench: Bench) -> None:
    bench.watch._peers = bench.settings.peers
    bench.counter = Counter(bench.archive.database, Settings(), bench._ask)
    assert bench.at(30) == ("ready", "open")
    assert bench.asked == []
    assert "no peer is named pacs any more" in bench.archive.rows(census)[0].note
