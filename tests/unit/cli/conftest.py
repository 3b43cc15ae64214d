"""A folder of its own for every command, and a ledger to look into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import RunCommand, runner
from stories import full_ledger

from dicom_node.archive.database import Database


@dataclass(frozen=True)
class Full:
    """A ledger with studies in every situation."""

    database: Database
    ids: dict[str, int]  # situation -> study


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one; the environment names no settings."""
    place = tmp_path / "folder"
    place.mkdir()
    monkeypatch.chdir(place)
    for variable in [name for name in os.environ if name.startswith("DICOM_NODE_")]:
        monkeypatch.delenv(variable)
    return place


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> RunCommand:
    """Runs a command in that folder."""
    return runner(capsys)


@pytest.fixture
def full(folder: Path) -> Iterator[Full]:
    """The ledger that the commands see."""
    database, ids = full_ledger(folder / "dicom-node-data")
    yield Full(database, ids)
    database.close()
