"""A worker that hears of a job takes a more urgent one first, and no job is left without a message."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, select

from dicom_node.archive.database import Database, db_now
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.schema import job, study
from dicom_node.domain.fitness import Abilities, Needs
from dicom_node.domain.job import JobState, NewJob, Priority, SelectedSeries


@pytest.fixture
def database(database: Database) -> Database:
    times = {name: db_now() for name in ("first_received", "last_received", "changed_at")}
    row = {"site_id": 1, "study_uid": "1.2", "state": "ready", "readiness": {}, "outcome": "", "attributes": {}}
    with database.write() as connection:
        connection.execute(insert(study).values(**row, **times))
    return database


def plan(database: Database, priority: Priority, needs: Needs | None = None, model: str = "noop") -> int:
    with database.read() as connection:
        name = f"rule {len(connection.execute(select(job.c.id)).all())}"
    chosen = SelectedSeries("image", 1, "1.2.3", (1,), (name,))
    made = NewJob(
        1, name, name, model, "1", "d", (chosen,), {}, (), {}, {}, priority=priority, needs=needs or Needs()
    )  # fmt: skip
    job_id = Ledger(database).plan(made)
    assert job_id is not None
    return job_id


def publish_all(ledger: Ledger) -> None:
    ledger.mark_published(ledger.to_publish(120))


def taken(ledger: Ledger, named: int, owner: str = "a:1") -> int | None:
    found = ledger.take(named, owner, 60.0)
    assert found is None or found[0].job_id == found[1].id
    return found and found[1].id


def test_the_named_job_is_taken_with_all_that_a_worker_reads_of_it(database: Database) -> None:
    ledger = Ledger(database)
    plan(database, Priority.ROUTINE)
    second = plan(database, Priority.ROUTINE)
    found = ledger.take(second, "a:1", 60.0)
    assert found is not None
    claim, read = found
    assert (claim.job_id, claim.attempt, claim.owner) == (second, 1, "a:1")
    assert read == ledger.job(second)  # of the same priority none goes before it
    assert read.study_uid == "1.2"


def test_a_more_urgent_job_goes_first_and_the_named_one_needs_a_new_message(database: Database) -> None:
    ledger = Ledger(database)
    routine = plan(database, Priority.ROUTINE)
    publish_all(ledger)
    urgent, stat = plan(database, Priority.URGENT), plan(database, Priority.STAT)
    publish_all(ledger)
    assert taken(ledger, routine) == stat
    assert [each.id for each in ledger.to_publish(120)] == [routine]
    assert taken(ledger, stat) is None
    assert taken(ledger, routine) == urgent
    assert taken(ledger, routine) == routine


def test_what_this_worker_may_not_run_does_not_hold_it_up(database: Database) -> None:
    ledger = Ledger(database, at_once={"large": 1}, abilities=Abilities(None, frozenset({"cpu"})))
    routine = plan(database, Priority.ROUTINE)
    plan(database, Priority.STAT, Needs(labels=frozenset({"gpu"})))
    first, second = (plan(database, Priority.STAT, model="large") for _ in range(2))
    assert taken(ledger, routine) == first
    assert taken(ledger, routine) == routine
    publish_all(Ledger(database))
    assert taken(ledger, second) is None
    assert second in [each.id for each in Ledger(database).to_publish(120)]  # once there is room


def test_workers_that_meet_at_one_urgent_job_get_one_job_each(database: Database) -> None:
    ledger = Ledger(database)
    routine = [plan(database, Priority.ROUTINE) for _ in range(4)]
    stat = plan(database, Priority.STAT)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda named: taken(ledger, named, f"a:{named}"), routine))
    assert None not in found
    assert len(set(found)) == 4
    assert stat in found
    assert len(ledger.jobs(states=(JobState.RUNNING,))) == 4


def test_a_job_that_was_claimed_since_it_was_read_does_not_count_as_published(database: Database) -> None:
    ledger = Ledger(database)
    plan(database, Priority.ROUTINE)
    moved = plan(database, Priority.ROUTINE)
    read = ledger.to_publish(120)
    found = ledger.take(read[0].id, "a:1", 60.0)
    assert found is not None
    ledger.release(found[0])
    ledger.mark_published(read)
    assert [each.id for each in ledger.to_publish(120)] == [read[0].id]
    assert moved == read[1].id
