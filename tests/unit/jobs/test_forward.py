"""Rules without a model: what they send on, when, and what they say about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from dicom_node.archive.accounting import unaccounted
from dicom_node.archive.forwarding import Forwarded
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.overview import studies
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.schema import series, study
from dicom_node.archive.story import story
from dicom_node.jobs import forward
from dicom_node.jobs.plan import Planner
from dicom_node.rules.match import RuleSet
from dicom_node.settings import Configuration, Settings, Source

PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
OTHER = {**PACS, "name": "other", "ae_title": "OTHER"}
MR = {"SeriesInstanceUID": "1.2.3.1.2", "Modality": "MR"}


class Bench:
    """A planner over an archive."""

    def __init__(self, archive: Any, **rule: Any) -> None:
        self.archive = archive
        asked = {"name": "on", "send_to": ["pacs"], "quiet_seconds": 0, **rule}
        settings = Settings.model_validate({"rules": [asked], "peers": [PACS, OTHER]})
        rules = RuleSet.compile(Configuration(settings, Source(None, "")), {})
        ledger = Ledger(archive.database)
        self.planner = Planner(settings, archive.database, ledger, rules, archive.index.study_view)

    def plan(self, *ready: int, whole: bool = False) -> list[list[str]]:
        """Let it look while these series, and perhaps the study, are whole; what is in each parcel, by last digits."""
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        with self.archive.database.write() as connection:
            connection.execute(update(series).where(series.c.id.in_(ready)).values(state="ready"))
            connection.execute(update(series).values(last_received=long_ago))
            connection.execute(update(study).values(state="ready" if whole else "open", last_received=long_ago))
        self.planner.tick()
        return [[made.sop_uid[10:] for made in found.artifacts] for found in Parcels(self.archive.database).all()]

    def outcome(self) -> str:
        with self.archive.database.read() as connection:
            return str(connection.execute(select(study.c.outcome)).scalar_one())


def test_what_arrives_goes_at_once(archive: Any) -> None:
    bench = Bench(archive, trigger="arrival", all=['Modality == "CT"'])
    archive.add(archive.image(1), archive.image(2), archive.image(9, **MR))
    assert bench.plan() == [["1", "2"]]
    assert bench.outcome() == "on: planned parcel 1 with 2 objects for pacs"
    archive.add(archive.image(3))
    assert bench.plan() == [["1", "2"], ["3"]]


def test_a_series_goes_once_it_is_whole(archive: Any) -> None:
    bench = Bench(archive)
    archive.add(archive.image(1), archive.image(9, **MR))
    assert bench.plan() == []
    assert bench.outcome().startswith("on: waiting: series 1.2.3.1.1 is not whole yet")
    assert bench.plan(2) == [["9"]]
    assert "waiting: series 1.2.3.1.1" in bench.outcome()
    assert bench.plan(1) == [["9"], ["1"]]
    archive.add(archive.image(2))  # it comes late, and reopens the series
    assert bench.plan() == [["9"], ["1"]]
    assert bench.plan(1, whole=True) == [["9"], ["1"], ["2"]]


def test_a_whole_study_goes_for_one_series_of_it(archive: Any) -> None:
    bench = Bench(archive, trigger="study", forward="study", all=['Modality == "MR"'], send_to=["pacs", "other"])
    archive.add(archive.image(1), archive.image(9, **MR))
    assert bench.plan(1, 2) == []
    assert bench.plan(1, 2, whole=True) == [["1", "9"], ["1", "9"]]
    assert [found.destination for found in Parcels(archive.database).all()] == ["pacs", "other"]


def test_nothing_that_no_rule_wants_goes(archive: Any) -> None:
    bench = Bench(archive, trigger="arrival", all=['Modality == "US"'])
    archive.add(archive.image(1))
    assert bench.plan() == []
    assert bench.outcome().startswith("no rule wants it; on: not wanted")


def test_what_is_overlooked_is_unaccounted_until_it_is_planned(archive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(archive, trigger="arrival", send_to=["pacs", "other"])
    archive.add(archive.image(1), archive.image(2))
    with monkeypatch.context() as patched:
        patched.setattr(forward, "forward", lambda *_: Forwarded((), 0, 2, 0))
        assert bench.plan() == []
    assert unaccounted(archive.database) == 4
    archive.add(archive.image(3))
    assert unaccounted(archive.database) == 0  # the rules look again
    assert bench.plan() == [["1", "2", "3"], ["1", "2", "3"]]
    assert unaccounted(archive.database) == 0


def test_what_came_from_the_destination_is_told(archive: Any) -> None:
    bench = Bench(archive, trigger="arrival")
    receipt = archive.part10(archive.image(1)).replace(b"MODALITY", b"PACS    ")
    archive.add(receipt)
    assert bench.plan() == []
    assert bench.outcome() == "on: 1 objects do not go to pacs, which has them: a loop was cut"
    assert unaccounted(archive.database) == 0


@pytest.mark.parametrize(
    ("state", "stands", "words"),
    [
        ("due", "delivering", "images on their way to pacs"),
        ("sent", "delivered", "images delivered to pacs"),
        ("present", "delivered", "images delivered to pacs, and found there"),
        ("refused", "undelivered", "pacs refused the images"),
        ("held", "held", "images held back from pacs"),
    ],
)
def test_a_study_that_is_only_sent_on_stands_by_its_parcels(archive: Any, state: str, stands: str, words: str) -> None:
    from dicom_node.archive.schema import parcel

    bench = Bench(archive)
    archive.add(archive.image(1))
    bench.plan(1, whole=True)
    with archive.database.write() as connection:
        connection.execute(update(parcel).values(state=state))
    ((told,), _), full = studies(archive.database), story(archive.database, 1)
    assert (told["standing"], told["standing_words"]) == (stands, words)
    assert (full["standing"], full["standing_words"]) == (stands, words)
    assert full["parcels"][0]["rule"] == "on"


def test_a_study_that_still_arrives_is_not_called_delivered(archive: Any) -> None:
    from dicom_node.archive.schema import parcel

    bench = Bench(archive, trigger="arrival")
    archive.add(archive.image(1))
    bench.plan()
    with archive.database.write() as connection:
        connection.execute(update(parcel).values(state="sent"))
    assert story(archive.database, 1)["standing"] == "arriving"
