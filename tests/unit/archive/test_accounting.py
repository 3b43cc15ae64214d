"""Nothing that was acknowledged may be nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update
from stories import Writer, full_ledger, new_ledger

from dicom_node.archive import schema
from dicom_node.archive.accounting import unaccounted
from dicom_node.archive.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return new_ledger(tmp_path)


def test_an_empty_ledger_owes_nothing(database: Database) -> None:
    assert unaccounted(database) == 0


def test_every_usual_situation_is_accounted_for(tmp_path: Path) -> None:
    assert unaccounted(full_ledger(tmp_path)[0]) == 0


def test_results_of_ours_belong_to_no_series(database: Database) -> None:
    with database.write() as connection:
        writer = Writer(connection)
        writer.instance(writer.study(1), "seg", "current", "our own result", origin="own-result")
    assert unaccounted(database) == 0


def test_an_image_of_no_series_is_nobodys(database: Database) -> None:
    with database.write() as connection:
        writer = Writer(connection)
        writer.instance(writer.study(1), "lost", "current")
    assert unaccounted(database) == 1


def test_a_series_that_counts_wrongly_shows(database: Database) -> None:
    with database.write() as connection:
        writer = Writer(connection)
        study = writer.study(1)
        writer.series(study, 1)
        writer.series(study, 2)
        connection.execute(update(schema.series).where(schema.series.c.id == 1).values(instances=27))
    assert unaccounted(database) == 3


def test_a_rejection_without_a_reason_counts(database: Database) -> None:
    with database.write() as connection:
        writer = Writer(connection)
        writer.instance(None, "named", "rejected", "not DICOM")
        writer.instance(None, "unnamed", "rejected", "")
    assert unaccounted(database) == 1


@pytest.mark.parametrize(
    ("state", "decided", "outcome", "expected"),
    [
        ("ready", 5, "no rule wants it; r: not wanted", 0),
        ("ready", 5, "", 30),
        ("ready", 4, "", 0),  # it changed since: the rules will look again
        ("ready", 0, "", 0),
        ("open", 5, "", 0),
        ("held", 5, "", 0),
    ],
)
def test_a_whole_study_needs_a_decision(
    database: Database, state: str, decided: int, outcome: str, expected: int
) -> None:
    with database.write() as connection:
        writer = Writer(connection)
        study = writer.study(1, state=state, revision=5, decided_revision=decided, outcome=outcome)
        writer.series(study, 1)
    assert unaccounted(database) == expected


@pytest.mark.parametrize(("decided", "expected"), [(5, 3), (4, 0)])  # 4: the rules will look again
def test_what_a_rule_sends_on_and_nobody_planned_counts(database: Database, decided: int, expected: int) -> None:
    with database.write() as connection:
        writer = Writer(connection)
        outcome = "on: 27 objects go to pacs"
        writer.series(writer.study(1, outcome=outcome, owed=3, revision=5, decided_revision=decided), 1)
    assert unaccounted(database) == expected
