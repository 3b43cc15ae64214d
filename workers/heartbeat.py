"""The heartbeat of a running job."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from dicom_node.archive.ledger import Ledger
from dicom_node.domain.job import Claim
from dicom_node.errors import LedgerError

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4


class Heartbeat:
    """Renews a claim's lease from a thread while a ``with`` block runs; ``lost`` tells when it is gone."""

    def __init__(self, ledger: Ledger, claim: Claim, lease_s: float) -> None:
        self._ledger = ledger
        self._claim = claim
        self._lease_s = lease_s
        self._progress = "claimed"
        self._stop = threading.Event()
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

    def progress(self, what: str) -> None:
        """What the job is doing; written with the next beat."""
        self._progress = what

    def _beat(self) -> None:
        while not self._stop.wait(self._lease_s / BEATS_PER_LEASE):
            try:
                self.lost = not self._ledger.heartbeat(self._claim, self._lease_s, self._progress)
            except LedgerError as error:
                log.warning("job %d: no heartbeat: %s", self._claim.job_id, error)
            if self.lost:
                log.warning("job %d is no longer attempt %d", self._claim.job_id, self._claim.attempt)
                return
