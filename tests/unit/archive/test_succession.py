"""Several jobs of one rule on one study: the last one counts, and says what it replaces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from noop_queue import NoopQueue

from dicom_node.archive import events, interventions, succession
from dicom_node.archive.results import Outcome
from dicom_node.domain.job import JobState, NewJob, SelectedSeries, job_key
from dicom_node.domain.parcel import Artifact
from dicom_node.errors import LedgerError


@pytest.fixture
def queue(tmp_path: Path) -> NoopQueue:
    return NoopQueue(tmp_path)


def plan(queue: NoopQueue, images: int, *, question: str = "") -> int:
    chosen = SelectedSeries("image", 1, "1.2.3.4", tuple(range(images)), tuple(map(str, range(images))))
    key = job_key("1.2.3", [chosen], "d", {})
    new = NewJob(1, key, "lungs", "noop", "1", "d", (chosen,), {}, (), {}, {})
    job_id = queue.ledger.plan(replace(new, question=question))
    assert job_id is not None
    return job_id


def commit(queue: NoopQueue, job_id: int) -> None:
    claim = queue.ledger.claim(job_id, "a:1", 60.0)
    assert claim is not None
    made = Artifact("sr", f"2.25.{job_id}", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.9", "1.2", "0", f"{job_id}", 1)
    queue.ledger.commit(claim, Outcome((), (made,), {}, {}, {}))


def states(queue: NoopQueue) -> list[str]:
    return [str(found.state) for found in reversed(queue.ledger.jobs())]


def kinds(queue: NoopQueue, job_id: int) -> list[str]:
    return [event.kind for event in events.history(queue.database, 1) if event.job_id == job_id]


def test_an_approved_job_runs_and_its_result_names_the_one_it_replaces(queue: NoopQueue) -> None:
    first = plan(queue, 3)
    commit(queue, first)
    asking = plan(queue, 4, question="is it to be replaced?")
    assert queue.ledger.claim(asking, "a:1", 60.0) is None

    succession.approve(queue.database, asking, "admin")
    commit(queue, asking)

    replaced = queue.ledger.job(asking)
    assert replaced is not None
    assert (replaced.supersedes, replaced.question) == (first, "")
    assert kinds(queue, asking) == ["job planned", "job approved", "job started", "job done"]
    assert kinds(queue, first)[-1] == "result superseded"


def test_a_question_leaves_alone_what_runs_and_replaces_its_result_in_the_end(queue: NoopQueue) -> None:
    commit(queue, plan(queue, 3))
    running = plan(queue, 4)
    asking = plan(queue, 5, question="replace?")
    assert states(queue) == ["done", "queued", "waiting"]
    commit(queue, running)

    succession.approve(queue.database, asking, "admin")

    found = queue.ledger.job(asking)
    assert found is not None
    assert found.supersedes == running


def test_approval_supersedes_what_has_no_result(queue: NoopQueue) -> None:
    commit(queue, plan(queue, 3))
    plan(queue, 4)
    succession.approve(queue.database, plan(queue, 5, question="replace?"), "admin")
    assert states(queue) == ["done", "superseded", "queued"]


def test_a_newer_question_takes_the_place_of_an_older_one(queue: NoopQueue) -> None:
    commit(queue, plan(queue, 3))
    plan(queue, 4, question="replace?")
    plan(queue, 5, question="replace?")
    assert states(queue) == ["done", "superseded", "waiting"]


def test_a_dropped_job_never_runs(queue: NoopQueue) -> None:
    commit(queue, plan(queue, 3))
    asking = plan(queue, 4, question="replace?")
    succession.drop(queue.database, asking, "admin")
    assert states(queue) == ["done", "cancelled"]
    with pytest.raises(LedgerError, match="asks nothing"):
        succession.approve(queue.database, asking, "admin")
    with pytest.raises(LedgerError, match="there is no job 99"):
        succession.drop(queue.database, 99, "admin")


def test_a_question_is_stuck_at_once_and_says_what_to_do(queue: NoopQueue) -> None:
    commit(queue, plan(queue, 3))
    asking = plan(queue, 4, question="is it to be replaced?")
    (found,) = interventions.stuck(queue.database, 3600)
    assert (found.job.state, found.why) == (JobState.WAITING, "is it to be replaced?")
    assert f"jobs approve {asking}" in found.remedy
