"""A rule that wants a study and gets no job is told as late, never silently filed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planner_bench import Bench, view
from sqlalchemy import update

from dicom_node.archive import schema
from dicom_node.archive.database import Database
from dicom_node.domain.job import Job, JobState
from dicom_node.domain.study import Readiness
from dicom_node.errors import LedgerError

STAT = {"all": ['Modality == "CT"'], "priority": "stat"}
FEW = view(instances=3)  # the model needs more


def only(bench: Bench) -> Job:
    (found,) = bench.ledger.jobs()
    return found


def hold(bench: Bench, quiet_s: float) -> None:
    bench.show(view(), quiet_s=quiet_s)
    bench.study = replace(bench.study, readiness=Readiness.HELD, readiness_reason="two patients in one study")
    with bench.database.write() as connection:
        connection.execute(update(schema.job).values(state="cancelled"))
        connection.execute(update(schema.study).values(state="held"))
    bench.planner._watchman._looked_at = None


def test_no_series_that_fits_is_put_down_once_the_study_is_whole(database: Database) -> None:
    bench = Bench(database, STAT)
    bench.show(FEW)
    assert not bench.ledger.jobs()
    assert "a missing result is told 7200 s after the last image" in bench.outcome()
    bench.show(FEW, whole=True)
    bench.show(FEW, whole=True)
    job = only(bench)
    assert (job.state, job.inputs, job.rule) == (JobState.FAILED, (), "chest CT")
    assert job.error is not None
    assert job.error["reason"] == "no-series"
    assert "instances >= " in job.error["message"]
    assert "is told" in bench.outcome()


def test_it_waits_for_as_long_as_the_result_is_of_use(database: Database) -> None:
    bench = Bench(database, {**STAT, "useful_for": 2000.0})
    bench.show(FEW, whole=True, quiet_s=1000)
    assert not bench.ledger.jobs()
    assert list(bench.planner._later) == [1]  # it looks again then
    bench.show(FEW, whole=True, quiet_s=2001)
    assert only(bench).state == JobState.FAILED


@pytest.mark.parametrize("given", [{}, {"priority": "stat", "on_no_result": []}, {"all": ['Modality == "MR"']}])
def test_what_nobody_asked_for_is_told_nobody(database: Database, given: dict[str, object]) -> None:
    bench = Bench(database, {**STAT, "priority": "routine", **given})
    bench.show(FEW, whole=True, quiet_s=10**6)
    assert not bench.ledger.jobs()
    assert bench.outcome().startswith("no rule wants it")


def test_a_rule_that_waits_for_quiet_misses_nothing_yet(database: Database) -> None:
    bench = Bench(database, {**STAT, "quiet_seconds": 3600.0})
    bench.show(view(), whole=True, quiet_s=1000)
    assert not bench.ledger.jobs()
    assert "the rule waits for" in bench.outcome()


def test_images_that_are_not_whole_in_time_are_told_and_run_when_they_are(database: Database) -> None:
    bench = Bench(database, {**STAT, "useful_for": 500.0})
    bench.show(view(ready=False), quiet_s=1000)
    error = only(bench).error
    assert error is not None
    assert error["reason"] == "not-whole"
    bench.show(view(), whole=True)
    assert [job.state for job in bench.ledger.jobs()] == [JobState.QUEUED, JobState.SUPERSEDED]


def test_what_came_too_late_is_run_though_the_rule_ignores_late_images(database: Database) -> None:
    bench = Bench(database, {**STAT, "late": "ignore"})
    bench.show(FEW, whole=True)
    bench.show(FEW, view(2), whole=True)
    assert [job.state for job in bench.ledger.jobs()] == [JobState.QUEUED, JobState.SUPERSEDED]


def test_a_held_study_is_told_when_it_was_held_too_long(database: Database) -> None:
    bench = Bench(database, {**STAT, "useful_for": 500.0})
    hold(bench, 400)
    bench.planner.tick()
    assert [job.state for job in bench.ledger.jobs()] == [JobState.CANCELLED]
    hold(bench, 600)
    bench.planner.tick()
    job = bench.ledger.jobs()[0]
    assert job.error is not None
    assert (job.state, job.error["reason"]) == (JobState.FAILED, "study-held")
    assert "two patients" in job.error["message"]
    assert len(bench.planner._watchman._settled) == 1  # it is not judged again until it changes


def test_it_cannot_be_retried_since_nothing_was_chosen(database: Database) -> None:
    bench = Bench(database, STAT)
    bench.show(FEW, whole=True)
    with pytest.raises(LedgerError, match="names no images"):
        bench.ledger.retry(only(bench).id, "admin")
