"""A worker's part of one job: what the ledger is told, whatever happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from noop_queue import NoopQueue

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.results import Outcome
from dicom_node.domain.job import JobState
from dicom_node.errors import Fenced, GeometryError, LedgerError, ModelRaised
from workers.run_job import Worker

NOTHING = Outcome((), (), {}, {}, {})


class Hosts:
    """A pool that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def cool(self) -> None:
        self.asked.append("cool")

    def run(self, *given: Any, **named: Any) -> None:
        self.asked.append("run")


class Scripted(Worker):
    """A worker whose jobs end as they are told to."""

    def _compute(self, job: Any, claim: Any, beat: Any) -> Any:
        self._infer(job, claim, self.hosts.run)  # type: ignore[arg-type]
        ending = job.parameters["seconds"]
        if isinstance(ending, str):
            raise ENDINGS[ending]

    def _outcome(self, job: Any, claim: Any, computed: Any, beat: Any) -> Outcome:
        return NOTHING


ENDINGS: dict[str, BaseException] = {
    "stop": SystemExit(0),
    "raised": ModelRaised("boom", traceback="File …", output="last line"),
    "geometry": GeometryError("gap"),
    "ledger": LedgerError("away"),
    "disk": OSError(28, "No space left on device"),
    "fenced": Fenced("gone"),
    "bug": ZeroDivisionError("division by zero"),
}


@pytest.fixture
def queue(tmp_path: Path) -> Any:
    made = NoopQueue(tmp_path / "queue")
    yield made
    made.stop()


@pytest.fixture
def worker(queue: NoopQueue) -> Scripted:
    folder = queue.settings.node.data_dir
    return Scripted(queue.settings, queue.ledger, ObjectStore(folder), None, Hosts(), "box:1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ending", "state", "excused"),
    [
        ("raised", JobState.QUEUED, 0),
        ("bug", JobState.QUEUED, 0),
        ("ledger", JobState.QUEUED, 1),
        ("disk", JobState.QUEUED, 1),
        ("geometry", JobState.FAILED, 0),
    ],
)
def test_what_went_wrong_decides_what_follows(
    queue: NoopQueue, worker: Scripted, ending: str, state: JobState, excused: int
) -> None:
    job_id = queue.plan(ending)  # type: ignore[arg-type]
    worker.run(job_id)
    ended = queue.ledger.job(job_id)
    assert ended is not None
    assert ended.error is not None
    assert (ended.state, ended.excused) == (state, excused)
    if ending == "raised":
        assert (ended.error["traceback"], ended.error["output"]) == ("File …", "last line")
    if ending == "bug":
        assert "ZeroDivisionError" in ended.error["traceback"]


def test_job_of_a_worker_that_is_told_to_stop_is_handed_back(queue: NoopQueue, worker: Scripted) -> None:
    job_id = queue.plan("stop")  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        worker.run(job_id)
    back = queue.ledger.job(job_id)
    assert back is not None
    assert (back.state, back.excused, back.error) == (JobState.QUEUED, 1, None)


def test_attempt_that_lost_its_job_tells_nothing(queue: NoopQueue, worker: Scripted) -> None:
    job_id = queue.plan("fenced")  # type: ignore[arg-type]
    assert worker.run(job_id) == "no longer ours"
    assert worker.run(job_id).startswith("not to be run")


@pytest.mark.parametrize(("ending", "write", "state"), [(0.0, "commit", "done"), ("bug", "fail", "queued")])
def test_a_ledger_that_is_away_for_a_while_is_waited_for(
    queue: NoopQueue, worker: Scripted, monkeypatch: pytest.MonkeyPatch, ending: Any, write: str, state: str
) -> None:
    monkeypatch.setattr("workers.run_job.LEDGER_PAUSE_S", 0.01)
    real, calls = getattr(queue.ledger, write), []

    def flaky(*given: Any, **named: Any) -> Any:
        calls.append(given)
        if len(calls) < 3:
            raise LedgerError("away", reason="database")
        return real(*given, **named)

    monkeypatch.setattr(queue.ledger, write, flaky)
    job_id = queue.plan(ending)
    assert worker.run(job_id) == state
    assert len(calls) == 3


def test_a_commit_that_was_done_although_its_answer_was_lost_counts_once(
    queue: NoopQueue, worker: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.run_job.LEDGER_PAUSE_S", 0.01)
    real = queue.ledger.commit

    def cut_off(*given: Any) -> None:
        real(*given)
        raise LedgerError("the connection was lost", reason="database")

    monkeypatch.setattr(queue.ledger, "commit", cut_off)
    job_id = queue.plan(0.0)
    assert worker.run(job_id) == "no longer ours"
    assert queue.states(job_id) == [JobState.DONE]


def test_only_the_last_attempt_gets_a_fresh_host(queue: NoopQueue, worker: Scripted) -> None:
    job_id = queue.plan("raised")  # type: ignore[arg-type]
    for _ in range(3):
        queue.due(job_id)
        worker.run(job_id)
    assert worker.hosts.asked == ["run", "run", "cool", "run"]  # type: ignore[attr-defined]
    assert queue.states(job_id) == [JobState.QUARANTINED]
