"""What people see of parcels: the kind of their destination, and when its hours let them go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from deliveries import Bench

from dicom_node.delivery.outlook import outlooks
from dicom_node.domain.parcel import ParcelState
from dicom_node.settings import NodeSettings, PeerSettings, Settings

NIGHT = datetime(2026, 3, 2, 23, 0, tzinfo=UTC)
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def settings(**peer: object) -> Settings:
    entry = PeerSettings.model_validate({"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104, **peer})
    return Settings(node=NodeSettings(time_zone="UTC"), peers=(entry,))


def test_a_parcel_that_is_due_tells_when_its_destination_opens(bench: Bench) -> None:
    record = bench.parcel(bench.add())
    night_only = settings(send_hours=["20:00-06:00"])
    (at_noon,) = outlooks([record], night_only, NOON)
    (at_night,) = outlooks([record], night_only, NIGHT)
    assert (at_noon["kind"], at_noon["opens"]) == ("dicom", "2026-03-02T20:00:00.000Z")
    assert at_night["opens"] is None
    (always,) = outlooks([record], settings(), NOON)
    assert always["opens"] is None


def test_one_that_was_sent_waits_for_nothing(bench: Bench) -> None:
    record = replace(bench.parcel(bench.add()), state=ParcelState.SENT)
    (told,) = outlooks([record], settings(send_hours=["20:00-06:00"]), NOON)
    assert told["opens"] is None


def test_a_destination_that_is_configured_no_more_has_no_kind(bench: Bench) -> None:
    (told,) = outlooks([bench.parcel(bench.add("other"))], settings(), NOON)
    assert (told["kind"], told["opens"], told["destination"]) == ("", None, "other")
