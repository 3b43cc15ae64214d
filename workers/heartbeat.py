"""The heartbeat of a running job, and how long its stages take."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType

from dicom_node.archive.ledger import Ledger
from dicom_node.domain.job import Claim
from dicom_node.errors import DicomNodeError, Fenced, LedgerError

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4
STAGE_LIMIT_S = 600.0  # for a stage that sets none of its own


class Heartbeat:
    """Renews a claim's lease from a thread while a ``with`` block runs; ``lost`` tells when it is gone.

    A thread proves that the process lives, not that the job gets on. So each stage has a limit: when that long
    nothing was told by :meth:`progress`, the attempt fails with the stack of the thread that hangs, and ``hung`` is
    called, which should end the process: a thread cannot be ended alone.
    """

    def __init__(self, ledger: Ledger, claim: Claim, lease_s: float, hung: Callable[[], object]) -> None:
        self._ledger = ledger
        self._claim = claim
        self._lease_s = lease_s
        self._hung = hung
        self._progress = "claimed"
        self._limit_s = STAGE_LIMIT_S
        self._told_at = time.monotonic()
        self._stop = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat of job {claim.job_id}", daemon=True)
        self.lost = False

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def stage(self, name: str, limit_s: float = STAGE_LIMIT_S) -> None:
        """A stage begins, of which each step may take ``limit_s``."""
        self._limit_s = limit_s
        self.progress(name)

    def progress(self, what: str) -> None:
        """What the job is doing; written with the next beat."""
        self._progress = what
        self._told_at = time.monotonic()

    def _beat(self) -> None:
        while not self._stop.wait(min(self._lease_s / BEATS_PER_LEASE, self._limit_s)):
            if time.monotonic() - self._told_at > self._limit_s:
                self._give_up()
                return
            try:
                self.lost = not self._ledger.heartbeat(self._claim, self._lease_s, self._progress)
            except LedgerError as error:
                log.warning("job %d: no heartbeat: %s", self._claim.job_id, error)
            if self.lost:
                log.warning("job %d is no longer attempt %d", self._claim.job_id, self._claim.attempt)
                return

    def _give_up(self) -> None:
        self.lost = True
        frame = sys._current_frames().get(self._watched)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        told = DicomNodeError(
            f"the stage {self._progress!r} did not get on for {self._limit_s:g} s",
            reason="no-progress",
            remedy="do the images and the ledger lie on a file system that hangs? The stack shows where it stood",
        )
        log.error("job %d: %s", self._claim.job_id, told.message)
        try:
            self._ledger.fail(self._claim, told, again=True, traceback=stack)
        except Fenced:
            log.warning("job %d is no longer attempt %d", self._claim.job_id, self._claim.attempt)
        except LedgerError as error:
            log.warning("job %d: %s; its lease runs out by itself", self._claim.job_id, error)
        self._hung()


@dataclass
class Stopwatch:
    """Seconds each stage of a job took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, beat: Heartbeat, limit_s: float = STAGE_LIMIT_S) -> Iterator[None]:
        """Time one stage, and show it as the job's progress; no step of it may take longer than ``limit_s``."""
        beat.stage(name, limit_s)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
