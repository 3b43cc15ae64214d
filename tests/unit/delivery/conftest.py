from __future__ import annotations

from pathlib import Path

import pytest
from deliveries import Bench, bench_in

from dicom_node.archive.database import Database


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    """Parcels in a ledger, on SQLite and on PostgreSQL."""
    return bench_in(database, tmp_path)
