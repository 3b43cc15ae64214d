"""What a STOW-RS server says of each object."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.exchange.stow import statuses


def _sequence(tag: str, **reasons: int | None) -> dict[str, Any]:
    items = []
    for uid, reason in reasons.items():
        item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
        if reason is not None:
            item["00081197"] = {"vr": "US", "Value": [reason]}
        items.append(item)
    return {tag: {"vr": "SQ", "Value": items}}


STORED = _sequence("00081199", a=None)
FAILED = _sequence("00081198", b=0xA700)


@pytest.mark.parametrize(
    ("http_status", "answer", "expected"),
    [
        (200, _sequence("00081199", a=None, b=None), {"a": 0, "b": 0}),
        (202, STORED | FAILED, {"a": 0, "b": 0xA700}),
        (202, [STORED | FAILED], {"a": 0, "b": 0xA700}),
        (409, _sequence("00081198", a=0xC000, b=0x0122), {"a": 0xC000, "b": 0x0122}),
        (409, _sequence("00081198", a=None, b=0), {"a": 0x0110, "b": 0x0110}),
        (200, None, {"a": 0, "b": 0}),
        (200, {}, {"a": 0, "b": 0}),
        (200, {"00081199": {"vr": "SQ"}, "00081198": {"vr": "SQ"}}, {"a": 0x0110, "b": 0x0110}),
        (200, STORED, {"a": 0, "b": 0x0110}),
        (202, None, {"a": 0x0110, "b": 0x0110}),
        (409, "no JSON object", {"a": 0x0110, "b": 0x0110}),
        (202, {"00081199": {"Value": "what"}, "00081198": [1]}, {"a": 0x0110, "b": 0x0110}),
    ],
)
def test_every_object_gets_a_status(http_status: int, answer: Any, expected: dict[str, int]) -> None:
    assert statuses(http_status, answer, ["a", "b"]) == expected


def test_one_that_is_named_as_failed_is_not_stored() -> None:
    assert statuses(202, STORED | _sequence("00081198", a=0xA900), ["a"]) == {"a": 0xA900}
