"""The ledger gives a worker what it may run, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import insert

from dicom_node.archive.database import Database, db_now
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.schema import study
from dicom_node.domain.fitness import Abilities, Needs
from dicom_node.domain.job import NewJob, SelectedSeries

CPU = Abilities(None, frozenset({"cpu"}))
SMALL = Abilities(8000, frozenset({"gpu"}))
LARGE = Abilities(24000, frozenset({"gpu", "large", "site-b"}))


@pytest.fixture
def database(database: Database) -> Database:
    times = {name: db_now() for name in ("first_received", "last_received", "changed_at")}
    row = {"site_id": 1, "study_uid": "1.2", "state": "ready", "readiness": {}, "outcome": "", "attributes": {}}
    with database.write() as connection:
        connection.execute(insert(study).values(**row, **times))
    return database


def plan(database: Database, name: str, needs: Needs) -> int:
    chosen = SelectedSeries("image", 1, "1.2.3", (1,), (name,))
    new = NewJob(1, name, name, "noop", "1", "d", (chosen,), {}, (), {}, {})
    job_id = Ledger(database).plan(replace(new, needs=needs))
    assert job_id is not None
    return job_id


@pytest.mark.parametrize(
    ("needs", "may"),
    [
        (Needs(), {CPU, SMALL, LARGE}),
        (Needs(gpu_memory_mb=16000), {CPU, LARGE}),  # a CPU has no GPU that could be too small
        (Needs(labels=frozenset({"gpu"})), {SMALL, LARGE}),
        (Needs(16000, frozenset({"gpu"})), {LARGE}),
        (Needs(labels=frozenset({"large", "site-b"})), {LARGE}),
        (Needs(labels=frozenset({"large", "site-c"})), set()),
    ],
)
def test_the_ledger_and_the_records_agree(database: Database, needs: Needs, may: set[Abilities]) -> None:
    job_id = plan(database, "a", needs)
    assert {has for has in (CPU, SMALL, LARGE) if not has.lack(needs)} == may
    assert {has for has in (CPU, SMALL, LARGE) if Ledger(database, abilities=has).next_queued() == job_id} == may
    refused = {CPU, SMALL, LARGE} - may
    assert all(Ledger(database, abilities=has).claim(job_id, "a:1", 60.0) is None for has in refused)
    assert Ledger(database).next_queued() == job_id  # whoever names no abilities may run it


def test_a_worker_passes_over_what_it_may_not_run(database: Database) -> None:
    plan(database, "large", Needs(labels=frozenset({"large"})))
    small = plan(database, "small", Needs())
    assert Ledger(database, abilities=CPU).next_queued() == small


def test_a_label_that_is_part_of_another_is_not_it(database: Database) -> None:
    plan(database, "a", Needs(labels=frozenset({"large-2"})))
    assert Ledger(database, abilities=LARGE).next_queued() is None
