"""Workers, broker and reconciler are killed at random: each job ends with exactly one committed result."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from noop_queue import NoopQueue
from peers import PostgreSQL

from dicom_node.archive import events

pytestmark = pytest.mark.peer

SECONDS = float(os.environ.get("CHAOS_SECONDS", "12"))
JOBS_PER_SECOND = 3
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.fixture(params=["sqlite", "postgresql"])
def queue(request: pytest.FixtureRequest, new_queue: Callable[..., NoopQueue]) -> Iterator[NoopQueue]:
    """A queue with everything running; leases are short, and no job is given up."""
    url = "sqlite"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.database()
    made = new_queue(database_url=url, lease_seconds=3.0, more="maximum_attempts = 50")
    made.start_broker()
    made.start("reconciler", "worker 1", "worker 2")
    made.await_workers(2)
    yield made


def strike(queue: NoopQueue, chance: random.Random) -> str:
    """One fault; what it was."""
    what = chance.choices(["worker", "pool child", "broker", "wiped broker", "reconciler"], [3, 3, 2, 1, 1])[0]
    if what in ("worker", "pool child"):
        name = chance.choice(["worker 1", "worker 2"])
        if what == "worker":
            queue.kill(name)
            queue.start(name)
        else:
            for child in psutil.Process(queue.processes[name].pid).children()[-1:]:
                child.kill()
    elif what == "reconciler":
        queue.kill(what)
        queue.start(what)
    else:
        queue.kill("broker")
        time.sleep(chance.uniform(0.1, 1.0))
        if what == "wiped broker":
            shutil.rmtree(Path(queue.settings.node.data_dir) / "broker")
        queue.start_broker()
    return what


def test_each_job_has_one_result_whatever_dies(queue: NoopQueue) -> None:
    sys.stdout.write(f"CHAOS_SEED={SEED}\n")
    chance, faults = random.Random(SEED), Counter[str]()
    for _ in range(int(SECONDS * JOBS_PER_SECOND)):
        queue.plan(chance.uniform(0.2, 1.2))
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        time.sleep(chance.uniform(0.3, 1.2))
        queue.keep_alive()
        faults[strike(queue, chance)] += 1

    queue.await_done(seconds=120)

    assert queue.results() == (queue.planned, queue.planned)
    done = Counter(event.job_id for event in events.history(queue.database, 1) if event.kind == "job done")
    assert set(done.values()) == {1}
    assert sum(faults.values()) >= SECONDS / 3
    again = sum(found.attempt > 1 for found in queue.ledger.jobs())
    sys.stdout.write(f"{dict(faults)}; {again} of {queue.planned} jobs ran more than once\n")
