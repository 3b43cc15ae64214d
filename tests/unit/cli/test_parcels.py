"""``dicom-node parcels``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from commands import RunCommand


def test_list(run: RunCommand, full: Any) -> None:
    lines = run("parcels", "list").output.splitlines()
    assert [line.split()[1:3] for line in lines[1:]] == [["sent", "pacs"], ["due", "pacs"]]
    assert lines[2].endswith("connection refused")


def test_a_parcel_that_waits_for_hours_says_so(run: RunCommand, full: Any, folder: Path) -> None:
    other_day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[(datetime.now(UTC).weekday() + 3) % 7]
    hours = f'send_hours = ["{other_day}"]\n'
    entry = f'[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\n{hours}'
    (folder / "dicom-node.toml").write_text(entry)
    sent, due = run("parcels", "list", "--json").json["parcels"]
    assert (sent["kind"], sent["opens"]) == ("dicom", None)
    assert datetime.fromisoformat(due["opens"]) > datetime.now(UTC)
    assert "waits for the hours of pacs, from" in run("parcels", "list", "--state", "due").output


def test_list_of_some_states(run: RunCommand, full: Any) -> None:
    (parcel,) = run("parcels", "list", "--state", "due", "--json").json["parcels"]
    assert (parcel["id"], parcel["tries"], parcel["error"]["remedy"]) == (2, 4, "start it")
    assert len(parcel["objects"]) == 2


def test_retry(run: RunCommand, full: Any) -> None:
    assert run("parcels", "retry", "1", "--json").json == {"parcel": 1, "state": "due"}
    assert run("parcels", "list", "--json").json["parcels"][0]["state"] == "due"


def test_hold_and_release(run: RunCommand, full: Any) -> None:
    assert run("parcels", "hold", "2", "--why", "asked by the ward", "--json").json == {"parcel": 2, "state": "held"}
    held = run("parcels", "list", "--state", "held", "--json").json["parcels"]
    assert [(parcel["id"], parcel["error"]["message"]) for parcel in held] == [(2, "asked by the ward")]
    assert run("parcels", "release", "2", "--json").json == {"parcel": 2, "state": "due"}
    assert run("parcels", "release", "2").status == 1


def test_what_has_arrived_cannot_be_held(run: RunCommand, full: Any) -> None:
    ran = run("parcels", "hold", "1")
    assert ran.status == 1
    assert "parcel 1 is sent" in ran.error


def test_a_parcel_that_is_not_there_is_bad_news(run: RunCommand, full: Any) -> None:
    ran = run("parcels", "retry", "99")
    assert ran.status == 1
    assert "there is no parcel 99" in ran.error
