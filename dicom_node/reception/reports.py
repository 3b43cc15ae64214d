"""Takes the reports of peers that we have asked for Storage Commitment, when they come to our acceptor.

The courier, which has asked, runs in another process: the way back to it is the ledger.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dicom_node.archive.commitment_requests import CommitmentRequests
from dicom_node.dimse.commitment import INVALID_ARGUMENT, PROCESSING_FAILURE, SUCCESS
from dicom_node.domain.commitment_answer import Answer
from dicom_node.errors import DicomNodeError
from dicom_node.settings import Settings

LOGGER = logging.getLogger(__name__)


class ReportDesk:
    """For the process that accepts."""

    def __init__(self, settings: Settings, requests: Callable[[], CommitmentRequests]) -> None:
        """``requests`` opens the ledger; it is called at the first report, by when the node has made it."""
        self._peers: dict[str, list[str]] = {}  # AE title -> names
        for peer in settings.peers:
            if peer.verify == "commitment":
                self._peers.setdefault(peer.ae_title.strip(), []).append(peer.name)
        self._connect = requests
        self._requests: CommitmentRequests | None = None
        self._lock = threading.Lock()

    def admits(self, calling_ae: str) -> bool:
        """Whether we ask this peer for commitment."""
        return calling_ae.strip() in self._peers

    def report(self, calling_ae: str, answer: Answer) -> int:
        """Keep a report; one of a transaction that this peer was not asked for is refused."""
        try:
            taken = self._ledger().answered(self._peers[calling_ae.strip()], answer)
        except DicomNodeError as error:
            LOGGER.error("a commitment report of %s cannot be kept: %s", calling_ae, error.message)
            return PROCESSING_FAILURE
        if not taken:
            LOGGER.warning("%s reports of a transaction it was not asked for: %s", calling_ae, answer.transaction_uid)
            return INVALID_ARGUMENT
        return SUCCESS

    def _ledger(self) -> CommitmentRequests:
        with self._lock:
            self._requests = self._requests or self._connect()
            return self._requests
