"""Fixtures for every suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def unavailable(what: str, remedy: str) -> None:
    """Skip where something outside is missing; under CI that is a failure."""
    message = f"{what}; {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real DICOM, EHR and genomic files, named by DICOM_NODE_TEST_DATA."""
    folder = os.environ.get("DICOM_NODE_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        unavailable("no real test data", "set DICOM_NODE_TEST_DATA to its folder")
    return Path(folder or "")
