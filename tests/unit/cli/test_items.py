"""``dicom-node items``, and how ``check`` tells of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from commands import RunCommand

from dicom_node.archive import open_items
from dicom_node.cli import doctor
from dicom_node.settings import NodeSettings, Settings


def test_list_and_close(run: RunCommand, full: Any, folder: Path) -> None:
    assert run("items", "list").output.strip() == "no open items"
    with full.database.write() as connection:
        for _ in range(2):  # the same matter is opened once
            open_items.open_(connection, "k", "images-rejected", 1, 1, "it was rejected", "withdraw it")
    (item,) = run("items", "list", "--json").json["items"]
    assert (item["kind"], item["job"], item["reason"], item["remedy"]) == (
        "images-rejected", 1, "it was rejected", "withdraw it",
    )  # fmt: skip
    settings = Settings(node=NodeSettings(data_dir=folder / "dicom-node-data"))
    (told,) = doctor.waiting_items(settings)
    assert (told.state, told.found) == ("warning", "1, the oldest: it was rejected")
    assert run("items", "close", str(item["id"]), "--json").json == {"item": item["id"], "closed": True}
    assert run("items", "close", str(item["id"])).status == 1
    assert run("items", "list", "--json").json == {"items": []}
    assert not list(doctor.waiting_items(settings))
