"""A job waits for features, is given them once, and never again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from studies_of_results import Clinic

from dicom_node.archive import gathering, succession
from dicom_node.domain.feature import Feature, FeatureState, digest
from dicom_node.domain.job import Job, JobState

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EGFR = Feature("egfr", 88.0, "mL/min", FeatureState.PRESENT, effective_at=NOON)
MATCH: dict[str, Any] = {"matched": True, "reason": "it is", "record": "epic Patient/a"}


def planned(clinic: Clinic, seconds: float = 600, **changes: Any) -> Job:
    clinic.arrive()
    return the(clinic, clinic.plan(gather_s=seconds, **changes))


def the(clinic: Clinic, job_id: int) -> Job:
    job = clinic.ledger.job(job_id)
    assert job is not None
    return job


def test_a_job_waits_until_it_is_given_what_there_is(clinic: Clinic) -> None:
    job = planned(clinic)
    assert job.state is JobState.WAITING
    assert clinic.ledger.claim(job.id, "box:1", 60) is None
    (found,) = gathering.waiting(clinic.database)
    assert (found.job_id, found.over, found.divided) == (job.id, False, False)
    assert gathering.freeze(clinic.database, job.id, [EGFR], MATCH, NOON)
    given = the(clinic, job.id)
    assert given.state is JobState.QUEUED
    assert given.features is not None
    assert [Feature.from_json(each) for each in given.features["values"]] == [EGFR]
    assert gathering.waiting(clinic.database) == ()
    assert "features gathered" in clinic.events()


def test_what_comes_later_changes_nothing(clinic: Clinic) -> None:
    job = planned(clinic)
    assert gathering.freeze(clinic.database, job.id, [EGFR], MATCH, NOON)
    assert not gathering.freeze(clinic.database, job.id, [], MATCH, NOON)
    assert the(clinic, job.id).features["values"] == [EGFR.as_json()]  # type: ignore[index]
    assert len(clinic.ledger.jobs(study_id=1)) == 1
    assert digest([EGFR]) != digest([])


def test_the_time_to_wait_passes(clinic: Clinic) -> None:
    planned(clinic, seconds=0)
    assert gathering.waiting(clinic.database)[0].over


def test_a_job_that_asks_a_person_waits_for_both(clinic: Clinic) -> None:
    job = planned(clinic, question="is it to be replaced?")
    succession.approve(clinic.database, job.id, "test")
    assert the(clinic, job.id).state is JobState.WAITING
    gathering.freeze(clinic.database, job.id, [EGFR], MATCH, NOON)
    assert the(clinic, job.id).state is JobState.QUEUED


def test_given_first_and_asked_then_it_still_waits_for_the_word(clinic: Clinic) -> None:
    job = planned(clinic, question="is it to be replaced?")
    gathering.freeze(clinic.database, job.id, [EGFR], MATCH, NOON)
    assert the(clinic, job.id).state is JobState.WAITING
    succession.approve(clinic.database, job.id, "test")
    assert the(clinic, job.id).state is JobState.QUEUED


def test_models_that_ask_for_nothing_do_not_wait(clinic: Clinic) -> None:
    clinic.arrive()
    assert the(clinic, clinic.plan()).state is JobState.QUEUED
