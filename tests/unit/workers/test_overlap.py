"""What a worker does beside the inference of a job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from noop_queue import NoopQueue
from peers import wait_until

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.results import Outcome
from dicom_node.domain.job import Claim, Job, JobState, Priority
from dicom_node.errors import GeometryError, ModelRaised
from workers import overlap
from workers.overlap import Overlap
from workers.run_job import Worker

NOTHING = Outcome((), (), {}, {}, {})


class Loader:
    """Loads nothing, and notes for which jobs."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    def __call__(self, job: Job) -> dict[str, Any]:
        self.asked.append(job.id)
        assert self.go_on.wait(20)
        if self.error:
            raise self.error
        return {"image": f"volume of {job.id}"}


class Gated(Worker):
    """A worker that computes nothing, and whose results are written when the gate is opened."""

    gate = threading.Event()
    computed: list[int]

    def _compute(self, job: Job, claim: Claim, beat: Any) -> Any:
        self.computed.append(job.id)
        if job.parameters["seconds"] == "raised":
            raise ModelRaised("boom")
        self.overlap.finish()

    def _outcome(self, job: Job, claim: Claim, computed: Any, beat: Any) -> Outcome:
        assert self.gate.wait(20)
        return NOTHING


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[NoopQueue]:
    made = NoopQueue(tmp_path / "queue")
    yield made
    made.stop()


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def beside(queue: NoopQueue, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> Overlap:
    monkeypatch.setattr(overlap, "LOOK_EVERY_S", 0.02)
    return Overlap(queue.ledger, ObjectStore(queue.settings.node.data_dir), loader)  # type: ignore[arg-type]


@pytest.fixture
def worker(queue: NoopQueue) -> Gated:
    folder = queue.settings.node.data_dir
    made = Gated(queue.settings, queue.ledger, ObjectStore(folder), None, None, "box:1")  # type: ignore[arg-type]
    object.__setattr__(made, "gate", threading.Event())
    object.__setattr__(made, "computed", [])
    return made


def taken(queue: NoopQueue, job_id: int) -> tuple[Claim, Job]:
    found = queue.ledger.take(job_id, "box:1", 60)
    assert found is not None
    return found


def test_next_job_is_decoded_while_this_one_computes_and_stays_in_the_queue(
    queue: NoopQueue, beside: Overlap, loader: Loader
) -> None:
    first, second = queue.plan(), queue.plan()
    claim, job = taken(queue, first)
    with beside.decoding_ahead(job, claim):
        wait_until(lambda: loader.asked == [second], "the next job to be decoded")
        assert queue.states(second) == [JobState.QUEUED]
    queue.ledger.commit(claim, NOTHING)

    volumes, seconds = beside.load(taken(queue, second)[1])

    assert volumes == {"image": f"volume of {second}"}
    assert set(seconds) == {"load ahead"}
    assert loader.asked == [second]


def test_a_job_being_decoded_is_waited_for_and_decoded_once(queue: NoopQueue, beside: Overlap, loader: Loader) -> None:
    loader.go_on.clear()
    first, second = queue.plan(), queue.plan()
    claim, job = taken(queue, first)
    with beside.decoding_ahead(job, claim):
        wait_until(lambda: bool(loader.asked), "decoding to begin")
    _, following = taken(queue, second)
    threading.Timer(0.2, loader.go_on.set).start()
    assert beside.load(following)[0] == {"image": f"volume of {second}"}
    assert loader.asked == [second]


def test_a_more_urgent_job_takes_the_place_of_the_one_decoded(
    queue: NoopQueue, beside: Overlap, loader: Loader
) -> None:
    first, routine = queue.plan(), queue.plan()
    claim, job = taken(queue, first)
    with beside.decoding_ahead(job, claim):
        wait_until(lambda: loader.asked == [routine], "the routine job to be decoded")
        stat = queue.plan(priority=Priority.STAT)
        wait_until(lambda: loader.asked == [routine, stat], "the urgent one to be decoded")
    queue.ledger.commit(claim, NOTHING)
    _, following = taken(queue, routine)  # the message names the routine one
    assert following.id == stat
    assert beside.load(following)[0] == {"image": f"volume of {stat}"}
    assert loader.asked == [routine, stat]


def test_what_cannot_be_decoded_ahead_is_told_by_the_job_itself(
    queue: NoopQueue, beside: Overlap, loader: Loader
) -> None:
    first, second = queue.plan(), queue.plan()
    loader.error = GeometryError("gap")
    claim, job = taken(queue, first)
    with beside.decoding_ahead(job, claim):
        wait_until(lambda: loader.asked == [second], "the next job to be tried")
    with pytest.raises(GeometryError, match="gap"):
        beside.load(taken(queue, second)[1])


def test_nothing_is_decoded_where_memory_is_short_or_another_worker_is_there(
    queue: NoopQueue, beside: Overlap, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other, _ = queue.plan(), queue.plan(), queue.plan()
    claim, job = taken(queue, first)
    with monkeypatch.context() as short:
        short.setattr(overlap, "_fits_in_memory", lambda files: False)
        with beside.decoding_ahead(job, claim):
            threading.Event().wait(0.2)
    queue.ledger.claim(other, "box:2", 60)
    with beside.decoding_ahead(job, claim):
        threading.Event().wait(0.2)
    assert loader.asked == []


def test_memory_is_reckoned_by_the_size_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "1.dcm"
    file.write_bytes(bytes(1000))
    monkeypatch.setattr(overlap, "_free_bytes", lambda: 32_000.0)
    assert overlap._fits_in_memory([file])
    assert not overlap._fits_in_memory([file, file])


def test_result_is_written_while_the_next_job_computes(queue: NoopQueue, worker: Gated) -> None:
    first, second = queue.plan(), queue.plan()
    assert worker.run(first) == "computed"
    threading.Timer(0.3, worker.gate.set).start()
    assert worker.run(second) == "done"  # nothing waits any more: it is written at once
    assert worker.computed == [first, second]
    assert queue.states(first, second) == [JobState.DONE, JobState.DONE]


def test_job_whose_result_is_being_written_is_under_lease_until_it_is_committed(
    queue: NoopQueue, worker: Gated
) -> None:
    first, _ = queue.plan(), queue.plan()
    worker.run(first)
    assert queue.states(first) == [JobState.RUNNING]
    assert queue.ledger.expire() == 0
    worker.gate.set()
    assert worker.overlap.finish(20)
    assert queue.states(first) == [JobState.DONE]


def test_result_not_written_when_the_worker_stops_is_handed_back_and_commits_nothing(
    queue: NoopQueue, worker: Gated
) -> None:
    first, _ = queue.plan(), queue.plan()
    worker.run(first)
    worker.overlap.hand_back(0.1)
    back = queue.ledger.job(first)
    assert back is not None
    assert (back.state, back.excused) == (JobState.QUEUED, 1)
    worker.gate.set()
    assert worker.overlap.finish(20)
    assert queue.states(first) == [JobState.QUEUED]


def test_attempt_after_one_that_failed_has_nothing_beside_it(
    queue: NoopQueue, worker: Gated, beside: Overlap, loader: Loader
) -> None:
    failing, other = queue.plan("raised"), queue.plan()  # type: ignore[arg-type]
    worker.run(failing)
    with queue.database.write() as connection:
        connection.exec_driver_sql("UPDATE job SET run_after = 0 WHERE id = ?", (failing,))
    claim, job = taken(queue, failing)
    assert claim.attempt == 2
    with beside.decoding_ahead(job, claim):
        threading.Event().wait(0.2)
    assert loader.asked == []
    assert beside.write(job, claim, lambda: "written at once") == "written at once"
    assert queue.states(other) == [JobState.QUEUED]


def test_of_two_jobs_the_one_that_does_not_hang_is_handed_back(
    queue: NoopQueue, worker: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr("workers.run_job.end_at_once", lambda: ended.append(True))
    first, _ = queue.plan(), queue.plan()
    worker.run(first)
    worker._end_at_once()
    assert (queue.states(first), ended) == ([JobState.QUEUED], [True])
    worker.gate.set()
    assert worker.overlap.finish(20)
