"""The acceptor process: receives images and does nothing else, so that nothing else can hold it up."""

from __future__ import annotations

import logging
import resource
import threading

from dicom_node.archive.files import ObjectStore
from dicom_node.dimse.acceptor import Acceptor
from dicom_node.dimse.services import MessageService
from dicom_node.errors import DicomNodeError
from dicom_node.pulse import Pulse
from dicom_node.reception.hints import Hints
from dicom_node.reception.store import FileStoreService
from dicom_node.settings import Settings

_DESCRIPTORS = 65536

LOGGER = logging.getLogger(__name__)


def run_acceptor(settings: Settings, name: str = "a0", stop: threading.Event | None = None) -> None:
    """Receive objects until ``stop`` is set; then finish those under way and return.

    ``name`` is that of the acceptor's folder in the file store; each process needs its own.

    Raises:
        ConfigurationError: the address cannot be bound or the data directory cannot be written.
    """
    stop = stop or threading.Event()
    _allow_descriptors()
    store = ObjectStore(settings.node.data_dir)
    writer = store.writer(name)
    hints = Hints(store.places.hints)
    service = FileStoreService(writer, hints, settings.node)
    acceptor = Acceptor(settings, service, _other_services(settings), store.places.occupancy)
    pulse = Pulse()
    acceptor.start()
    try:
        while not stop.wait(1.0):
            pulse.beat()
            if not acceptor.alive():
                raise DicomNodeError("the acceptor has stopped listening", reason="acceptor-stopped")
    finally:
        acceptor.stop()
        hints.close()
    LOGGER.info("the acceptor has stopped")


def _allow_descriptors() -> None:
    """An association needs up to four descriptors; the usual limit of 1024 would be reached by some hundred."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _other_services(settings: Settings) -> list[MessageService]:
    """What is served beside C-STORE. Where nobody asks for commitment the ledger's library is not even loaded."""
    if all(peer.commitment == "off" and peer.verify != "commitment" for peer in settings.peers):
        return []
    from dicom_node.archive.commitment_requests import CommitmentRequests
    from dicom_node.archive.commitments import Commitments
    from dicom_node.archive.database import Database
    from dicom_node.dimse.commitment import CommitmentSCP
    from dicom_node.reception.commitment import CommitmentDesk
    from dicom_node.reception.reports import ReportDesk

    def ledger() -> Database:
        return Database(settings.database.url, settings.node.data_dir)

    desk = CommitmentDesk(settings, lambda: Commitments(ledger()))
    return [CommitmentSCP(desk, ReportDesk(settings, lambda: CommitmentRequests(ledger())))]
