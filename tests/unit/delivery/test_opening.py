"""When a destination may be sent to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dicom_node.delivery.opening import Opening, now, opening
from dicom_node.settings import PeerSettings

NIGHTLY = PeerSettings(
    name="far", ae_title="FAR", host="10.0.0.5", port=104, send_hours=("19:00-07:00",), stat_any_time=True
)


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        ("UTC", "12:00", Opening.STAT),
        ("UTC", "19:30", Opening.OPEN),
        ("Asia/Tokyo", "12:00", Opening.OPEN),  # 21:00 there
        ("America/New_York", "19:30", Opening.STAT),  # 14:30 there
    ],
)
def test_hours_are_those_of_the_site(zone: str, at: str, expected: Opening) -> None:
    moment = datetime.fromisoformat(f"2026-03-02T{at}").replace(tzinfo=UTC)
    assert opening(NIGHTLY, moment, zone) is expected
    if expected is Opening.STAT:
        assert opening(NIGHTLY.model_copy(update={"stat_any_time": False}), moment, zone) is Opening.CLOSED


def test_without_hours_it_is_always_open() -> None:
    assert opening(NIGHTLY.model_copy(update={"send_hours": ()}), now(), "") is Opening.OPEN
