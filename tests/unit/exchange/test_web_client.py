"""What a status means, and when to try again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from dicom_node.exchange.web_client import fault
from dicom_node.settings import PeerSettings

PEER = PeerSettings(name="cloud", kind="dicomweb", url="https://pacs.example.org/dicom-web")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (301, "redirected"),
        (400, "object-refused"),
        (401, "not-authorized"),
        (403, "not-authorized"),
        (404, "wrong-url"),
        (405, "wrong-url"),
        (408, "out-of-resources"),
        (413, "object-refused"),
        (415, "object-refused"),
        (429, "out-of-resources"),
        (500, "peer-failure"),
        (502, "peer-failure"),
        (503, "out-of-resources"),
        (507, "out-of-resources"),
    ],
)
def test_each_status_has_a_reason_and_a_remedy(status: int, reason: str) -> None:
    told = fault(PEER, httpx.Response(status))
    assert (told.reason, told.retry_after_s) == (reason, 0.0)
    assert f"HTTP {status}" in told.message
    assert told.remedy


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("120", 120, 120),
        ("999999999999", 86400, 86400),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("", 0, 0),
    ],
)
def test_when_it_may_be_tried_again(text: str, least: float, most: float) -> None:
    assert least <= fault(PEER, httpx.Response(503, headers={"Retry-After": text})).retry_after_s <= most


@pytest.mark.parametrize(("hours", "least", "most"), [(1, 3000, 3600), (-1, 0, 0)])
def test_it_may_be_tried_again_at_a_time(hours: int, least: float, most: float) -> None:
    text = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    assert least <= fault(PEER, httpx.Response(503, headers={"Retry-After": text})).retry_after_s <= most
