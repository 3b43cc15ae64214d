"""Orders: known by accession number and issuer, and what they mean for jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from dicom_node.archive import events, interventions, orders
from dicom_node.archive.database import db_now
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.schema import imaging_order, study
from dicom_node.domain.job import Job, NewJob, Priority, SelectedSeries, job_key


@pytest.fixture
def ledger(archive: Any) -> Ledger:
    archive.add(archive.image(1), archive.image(2))
    return Ledger(archive.database)


def plan(ledger: Ledger, rule: str = "lungs", priority: Priority = Priority.ROUTINE) -> int:
    chosen = SelectedSeries("image", 1, "1.2.3.1.1", (1, 2), (rule,))
    key = job_key("1.2.3.1", [chosen], "d", {})
    new = NewJob(1, key, rule, "noop", "1", "d", (chosen,), {}, (), {}, {})
    job_id = ledger.plan(replace(new, priority=priority))
    assert job_id is not None
    return job_id


def found(ledger: Ledger, job_id: int) -> Job:
    job = ledger.job(job_id)
    assert job is not None
    return job


def linked(ledger: Ledger, issuer: str = "HIS") -> None:
    (seen,) = orders.unlinked(ledger.database)
    assert (seen.study_id, seen.accession_number) == (1, "A1")
    orders.link(ledger.database, 1, "A1", issuer)
    assert orders.unlinked(ledger.database) == ()


def test_an_order_moves_the_jobs_of_its_study_forward_and_is_named(ledger: Ledger) -> None:
    job_id = plan(ledger)
    linked(ledger)
    assert orders.set_priority(ledger.database, "A1", "HIS", Priority.STAT, "worklist ris") == 1
    moved = found(ledger, job_id)
    assert (moved.priority, moved.priority_source) == (Priority.STAT, "order A1 (worklist ris)")
    assert events.history(ledger.database, 1)[-1].detail == {"priority": "stat", "why": moved.priority_source}


def test_an_order_told_before_the_study_came_counts_for_what_is_planned_later(ledger: Ledger) -> None:
    orders.set_priority(ledger.database, "A1", "HIS", Priority.URGENT, "hl7")
    linked(ledger)
    assert found(ledger, plan(ledger)).priority == Priority.URGENT
    assert orders.due(ledger.database) == ()  # nobody needs to be asked any more


def test_an_order_of_another_issuer_changes_nothing(ledger: Ledger) -> None:
    linked(ledger, "HIS")
    orders.set_priority(ledger.database, "A1", "OTHER", Priority.STAT, "hl7")
    assert found(ledger, plan(ledger)).priority == Priority.ROUTINE


def test_the_more_urgent_of_rule_and_order_counts(ledger: Ledger) -> None:
    linked(ledger)
    orders.set_priority(ledger.database, "A1", "HIS", Priority.URGENT, "hl7")
    stat = found(ledger, plan(ledger, priority=Priority.STAT))
    assert (stat.priority, stat.priority_source) == (Priority.STAT, "rule")


def test_what_a_person_has_set_stays_and_what_runs_is_left_alone(ledger: Ledger) -> None:
    by_hand, running = plan(ledger), plan(ledger, "other")
    interventions.prioritise(ledger.database, by_hand, Priority.ROUTINE, "admin")
    assert ledger.claim(running, "a:1", 60.0) is not None
    linked(ledger)
    assert orders.set_priority(ledger.database, "A1", "HIS", Priority.STAT, "hl7") == 0
    assert found(ledger, by_hand).priority_source == "by hand: admin"
    assert found(ledger, running).priority == Priority.ROUTINE


def test_a_job_that_moves_forward_needs_a_new_message(ledger: Ledger) -> None:
    job_id = plan(ledger)
    ledger.mark_published(ledger.to_publish(120))
    linked(ledger)
    orders.set_priority(ledger.database, "A1", "HIS", Priority.STAT, "hl7")
    assert [job.id for job in ledger.to_publish(1000.0)] == [job_id]


def test_a_worklist_that_cannot_be_asked_is_tried_again_a_few_times(ledger: Ledger) -> None:
    linked(ledger)
    for tries in range(4):
        (order,) = orders.due(ledger.database)
        assert order.patient_ids == {"P1"}
        orders.could_not_ask(ledger.database, order, "ris could not be asked")
        with ledger.database.write() as connection:
            if tries < 3:
                connection.execute(update(imaging_order).values(next_try=db_now()))
    assert orders.due(ledger.database) == ()


def test_linking_a_study_does_not_have_the_rules_look_again(ledger: Ledger, archive: Any) -> None:
    before = archive.rows(study)[0].revision
    linked(ledger)
    assert archive.rows(study)[0].revision == before
