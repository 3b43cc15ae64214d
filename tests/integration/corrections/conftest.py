"""Fixtures of the tests of corrections."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies_of_results import Clinic

from dicom_node.archive.database import Database


@pytest.fixture
def clinic(tmp_path: Path, database: Database) -> Clinic:
    """A ledger for images and their results."""
    return Clinic(database, tmp_path)
