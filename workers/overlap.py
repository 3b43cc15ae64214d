"""What a worker does beside the inference of one job: decode the next one's images, and write the last one's result.

Nothing is claimed ahead. The next job stays in the queue while its images are decoded, so that a more urgent one, or
another worker, still goes first; what was decoded in vain is thrown away. The last job is still claimed while its
result is written: it has a heartbeat of its own, and is handed back where the worker is told to stop. An attempt after
one that failed runs with nothing beside it, so that no job fails twice by what another one did to the process.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.ledger import Ledger
from dicom_node.domain.job import Claim, Job
from dicom_node.errors import LedgerError
from workers.inference.volume import Volume

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
STOP_WITHIN_S = 3.0
_SHARE_OF_FREE_MEMORY = 0.25
_MOST_GROWN = 8  # decoded images are larger than their files: four times by compression, twice as float32

Volumes = Mapping[str, Volume]  # by role


@dataclass(slots=True, eq=False)
class Decoded:
    """Images of a job that may be next; ``volumes`` are there once ``ready`` is set, None where they cannot be had."""

    job_id: int
    ready: threading.Event = field(default_factory=threading.Event)
    volumes: Volumes | None = None
    seconds: float = 0.0


class Overlap:
    """The work beside one worker's inference."""

    def __init__(self, ledger: Ledger, store: ObjectStore, load: Callable[[Job], Volumes]) -> None:
        self._ledger = ledger
        self._store = store
        self._load = load
        self._held: Decoded | None = None
        self._one = threading.Lock()  # decodes at a time
        self._writer: threading.Thread | None = None
        self._written: Claim | None = None

    @contextmanager
    def decoding_ahead(self, job: Job, claim: Claim) -> Iterator[None]:
        """While the block runs, decode what would be next; what is more urgent takes its place."""
        if not _first(job, claim):
            self.finish()
            yield
            return
        stop = threading.Event()
        threading.Thread(target=self._look, args=(stop,), name="ahead", daemon=True).start()
        try:
            yield
        finally:
            stop.set()

    def load(self, job: Job) -> tuple[Volumes, dict[str, float]]:
        """The images of a claimed job, and the seconds it took to decode them, if that was ahead.

        Raises:
            DicomNodeError: as ``load``.
        """
        held = self._held
        if held is not None and held.job_id == job.id:
            held.ready.wait()
            self._held = None
            if held.volumes is not None:
                return held.volumes, {"load ahead": held.seconds}
        return self._load(job), {}

    def write(self, job: Job, claim: Claim, result: Callable[[], str]) -> str:
        """Write a result; beside the next job where one waits. Returns how the job ended, or that it is computed."""
        if not _first(job, claim) or self._ledger.next_queued() is None:
            return result()
        self.finish()
        self._written = claim
        self._writer = threading.Thread(target=result, name=f"result of job {claim.job_id}", daemon=True)
        self._writer.start()
        return "computed"

    def finish(self, within_s: float | None = None) -> bool:
        """Wait until the result being written is; False: it still is not."""
        if self._writer is not None:
            self._writer.join(within_s)
            if self._writer.is_alive():
                return False
            self._writer = self._written = None
        return True

    def hand_back(self, within_s: float) -> None:
        """Give back unharmed the job whose result is not written within that time; this process is about to end."""
        written = self._written
        if written is not None and not self.finish(within_s):
            self._ledger.release(written)

    def _look(self, stop: threading.Event) -> None:
        with self._one:
            while not stop.is_set():
                job = self._next()
                if job is not None and (self._held is None or self._held.job_id != job.id):
                    self._decode(job)
                stop.wait(LOOK_EVERY_S)

    def _next(self) -> Job | None:
        """The job that is next, if no other worker could be faster and memory suffices."""
        try:
            following = self._ledger.next_queued()
            if following is None or len(self._ledger.running_owners()) > 1:
                return None
            job = self._ledger.job(following)
            files = [file.path for selected in job.inputs for file in self._ledger.sources(selected)] if job else []
            return job if _fits_in_memory(map(self._store.absolute, files)) else None
        except (LedgerError, OSError) as error:
            log.info("nothing is decoded ahead: %s", error)
            return None

    def _decode(self, job: Job) -> None:
        held = self._held = Decoded(job.id)
        began = time.perf_counter()
        try:
            held.volumes = self._load(job)
        except Exception as error:  # noqa: BLE001  a thread's top: the job itself meets it again, and tells it
            log.info("job %d is not decoded ahead: %s", job.id, error)
        finally:
            held.seconds = round(time.perf_counter() - began, 3)
            held.ready.set()


def _first(job: Job, claim: Claim) -> bool:
    """Whether no attempt has failed yet."""
    return claim.attempt - job.excused <= 1


def _fits_in_memory(files: Iterable[Path]) -> bool:
    size = sum(file.stat().st_size for file in files)
    return size * _MOST_GROWN <= _SHARE_OF_FREE_MEMORY * _free_bytes()


def _free_bytes() -> float:
    memory = Path("/proc/meminfo")
    if not memory.exists():  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4
    lines = memory.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
