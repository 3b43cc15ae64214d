"""What pages and API read from."""

from __future__ import annotations

from pathlib import Path

from dicom_node.archive import open_items
from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.settings import NodeSettings, Settings
from dicom_node.web.sources import Sources


def sources(database: Database, tmp_path: Path) -> Sources:
    settings = Settings(node=NodeSettings(data_dir=tmp_path))
    return Sources(settings, database, Ledger(database), Parcels(database), dict)


def test_a_study_is_named_by_its_uid_and_by_nothing_else(database: Database, tmp_path: Path) -> None:
    found = sources(database, tmp_path)
    told = found.story("1.2.826.0.1.3")
    assert told is not None
    assert (told["id"], told["standing"]) == (3, "failed")
    assert isinstance(told["events"], list)
    assert found.story("3") is None  # a row number may be another study's accession number
    assert found.story("") is None


def test_open_items_of_one_study_or_of_all(database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        open_items.open_(connection, "a", "rejected", 1, None, "why", "what")
        open_items.open_(connection, "b", "rejected", 2, None, "why", "what")
    found = sources(database, tmp_path)
    assert [each["study_uid"] for each in found.items()] == ["1.2.826.0.1.1", "1.2.826.0.1.2"]
    assert [each["id"] for each in found.items(2)] == [2]
    assert found.counters()["open_items"] == 2
