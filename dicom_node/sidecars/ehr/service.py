"""The process of the patients' record: listens for HL7 messages, and follows the servers that are to be followed.

Each server has a thread, which asks for changes and for exports when they are due. Trouble with one is told and tried
again; it holds up no other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.nodes import Turn
from dicom_node.archive.sealing import Vault
from dicom_node.ehr_settings import ServerSettings
from dicom_node.errors import ConfigurationError, DicomNodeError
from dicom_node.settings import Settings
from dicom_node.sidecars.ehr import listener
from dicom_node.sidecars.ehr.changes import Follower
from dicom_node.sidecars.ehr.export import Exporter
from dicom_node.sidecars.ehr.importer import Report
from dicom_node.sidecars.ehr.mapping import load

log = logging.getLogger(__name__)

_AFTER_TROUBLE_S = 300.0
_LONGEST_WAIT_S = 60.0  # so that whose turn it is stays known


def is_followed(server: ServerSettings) -> bool:
    """Whether a server is to be followed, rather than asked only when a model needs it."""
    return bool(server.sync_minutes or server.export)


def run(settings: Settings, stop: threading.Event) -> None:
    """Listen and follow until ``stop``.

    Raises:
        ConfigurationError: there is nothing to do, or the mapping, a certificate or the port cannot be used.
    """
    followed = [server for server in settings.ehr.servers if is_followed(server)]
    if settings.ehr.hl7 is None and not followed:
        raise ConfigurationError(
            "is not there, and no server of [[ehr.servers]] has sync_minutes or export: there is nothing to do",
            key="ehr.hl7",
        )
    database = Database(settings.database.url, settings.node.data_dir, Vault.of(settings.ehr.seal))
    threads = [
        threading.Thread(target=Following(settings, database, server).run, args=(stop,), name=f"ehr {server.name}")
        for server in followed
    ]
    try:
        for thread in threads:
            thread.start()
        if settings.ehr.hl7 is not None:
            listener.run(settings, stop)
        else:
            stop.wait()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        database.close()


class Following:
    """Follows one server."""

    def __init__(self, settings: Settings, database: Database, server: ServerSettings) -> None:
        store, mapping = ObjectStore(settings.node.data_dir), load(settings.ehr.mapping)
        self._server = server
        self._follower = Follower(settings.ehr, database, store, mapping)
        self._exporter = Exporter(settings.ehr, database, store, mapping)
        self._turn = Turn(database, f"ehr {server.name}")  # several nodes may follow it; one does

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``."""
        now = time.monotonic()
        due: list[tuple[Callable[[], float], float]] = []
        if self._server.sync_minutes:
            due.append((self._changes, now))
        if self._server.export:
            due.append((self._export, now))
        while not stop.is_set():
            now = time.monotonic()
            due = [(work, now + self._pass(work) if at <= now else at) for work, at in due]
            stop.wait(min(_LONGEST_WAIT_S, max(0.0, min(at for _, at in due) - time.monotonic())))
        try:
            self._turn.release()
        except DicomNodeError as error:
            log.warning("%s", error.message)

    def _pass(self, work: Callable[[], float]) -> float:
        """Do it; seconds until it is due again."""
        try:
            return work() if self._turn.ours() else _LONGEST_WAIT_S
        except DicomNodeError as error:
            log.error("%s", error.message)
        except Exception:
            log.exception("%s: unforeseen", self._server.name)
        return _AFTER_TROUBLE_S

    def _changes(self) -> float:
        self._tell("changes", self._follower.follow(self._server))
        return self._server.sync_minutes * 60

    def _export(self) -> float:
        came = self._exporter.step(self._server)
        if not isinstance(came, Report):
            return came
        self._tell("export", came)
        return self._server.export_hours * 3600

    def _tell(self, what: str, report: Report) -> None:
        """Numbers alone: what was refused may name patients."""
        told = (what, report.resources, report.features, len(report.refused))
        log.info("%s: %s: %d resources, %d features new or changed, %d refused", self._server.name, *told)
