"""Asks peers how many images they have of what they sent us.

A stage of its own: a peer that hangs holds up nobody else's readiness.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from dicom_node.archive import census
from dicom_node.archive.database import Database
from dicom_node.dimse.find import Reported
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, Settings

log = logging.getLogger(__name__)

ASK_LIMIT_S = 10.0  # for the connection, and for each answer

Ask = Callable[[PeerSettings, str, str, float], Reported]  # peer, our AE title, Study Instance UID, seconds


class Counter:
    """Answers the questions in the ledger. Harmless if doubled. ``ask``: ``dicom_node.dimse.find.images_reported``."""

    def __init__(self, database: Database, settings: Settings, ask: Ask) -> None:
        self._database = database
        self._settings = settings
        self._ask = ask

    def tick(self) -> int:
        """Ask for everything that is due; returns how many studies were asked about."""
        questions = census.due(self._database)
        silent: dict[str, str] = {}  # peer -> why; the others of its questions are not to wait for it too
        for question in questions:
            peer = self._settings.peer(question.peer)
            if peer is None:
                silent.setdefault(question.peer, f"no peer is named {question.peer} any more")
            if peer is None or question.peer in silent:
                census.untold(self._database, question, silent[question.peer])
                continue
            try:
                found = self._ask(peer, self._settings.node.ae_title, question.study_uid, ASK_LIMIT_S)
            except PeerError as error:
                log.warning("%s cannot be asked how many images it has: %s", peer.name, error.message)
                silent[peer.name] = f"{peer.name} could not be asked how many images it has ({error.reason})"
                census.untold(self._database, question, silent[peer.name])
                continue
            if found.known:
                census.told(self._database, question, found.study, found.series)
            else:
                census.untold(self._database, question, f"{peer.name} does not know the study")
        return len(questions)
