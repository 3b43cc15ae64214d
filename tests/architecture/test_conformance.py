"""The conformance statement says what the code does."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def conformance() -> ModuleType:
    pytest.importorskip("highdicom", reason="the tables of result objects are read from encoded ones")
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module("conformance")
    finally:
        sys.path.remove(str(DOCS))


def test_the_tables_are_those_of_the_code(conformance: ModuleType) -> None:
    written = conformance.DOCUMENT.read_text(encoding="utf-8")
    assert written == conformance.rendered(written), "bring it up to the code with: python docs/conformance.py"


def test_a_table_that_is_missing_is_noticed(conformance: ModuleType) -> None:
    with pytest.raises(SystemExit, match="services"):
        conformance.rendered("# A statement without tables\n")


def test_a_table_that_was_changed_by_hand_is_noticed(conformance: ModuleType) -> None:
    written = conformance.DOCUMENT.read_text(encoding="utf-8")
    assert "| 1 (permanent) |" in written
    changed = written.replace("| 1 (permanent) |", "| 2 (transient) |")
    assert conformance.rendered(changed) == conformance.rendered(written)
