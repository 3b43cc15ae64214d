from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stories import new_ledger

from dicom_node.archive.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A ledger on SQLite: what is tested here are peers."""
    made = new_ledger(tmp_path)
    yield made
    made.close()
