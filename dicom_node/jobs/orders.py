"""Looks up how urgent the orders of studies are, in the worklists of peers that serve one.

A stage of its own: planning does not wait for it. What it finds moves jobs that were planned meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from dicom_node.archive import orders
from dicom_node.archive.database import Database
from dicom_node.archive.orders import Order
from dicom_node.dimse.worklist import WorklistItem
from dicom_node.domain.job import Priority, requested_priority
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, Settings

log = logging.getLogger(__name__)

ASK_LIMIT_S = 5.0  # for the connection, and for each answer

Ask = Callable[[PeerSettings, str, str, float], Sequence[WorklistItem]]  # peer, our AE title, accession number, seconds
IssuerOf = Callable[[Path], str]  # of the accession number in a stored object


class Worklist:
    """Gives each study its order, and asks about each order once."""

    def __init__(self, settings: Settings, database: Database, ask: Ask, issuer_of: IssuerOf) -> None:
        self._settings = settings
        self._database = database
        self._ask = ask
        self._issuer_of = issuer_of
        self._peers = tuple(peer for peer in settings.peers if peer.worklist)

    def tick(self) -> int:
        """Look up what is due; returns how many orders were asked about."""
        for found in orders.unlinked(self._database):
            issuer = self._issuer_of(self._settings.node.data_dir / found.path) if found.path else ""
            orders.link(self._database, found.study_id, found.accession_number, issuer)
        if not self._peers:
            return 0
        due = orders.due(self._database)
        for order in due:
            self._look_up(order)
        return len(due)

    def _look_up(self, order: Order) -> None:
        trouble = ""
        for peer in self._peers:
            try:
                items = self._ask(peer, self._settings.node.ae_title, order.accession_number, ASK_LIMIT_S)
            except PeerError as error:
                trouble = f"{peer.name} could not be asked ({error.reason})"
                log.warning("the worklist of %s cannot be asked: %s", peer.name, error.message)
                continue
            meant = [item for item in items if _is_meant(item, order)]
            if meant:
                priority = _most_urgent(meant)
                note = "" if priority is not None else "the worklist gives the order no priority"
                source = f"worklist {peer.name}"
                orders.set_priority(self._database, order.accession_number, order.issuer, priority, source, note)
                return
        if trouble:
            orders.could_not_ask(self._database, order, trouble)
        else:
            orders.set_priority(
                self._database, order.accession_number, order.issuer, None, "worklist", "no worklist has the order"
            )


def _is_meant(item: WorklistItem, order: Order) -> bool:
    """Whether an item is of this order: not all servers match by accession number, and numbers of two issuers meet."""
    if item.accession_number != order.accession_number:
        return False
    if item.issuer and order.issuer and item.issuer != order.issuer:
        return False
    return not item.patient_id or not order.patient_ids or item.patient_id in order.patient_ids


def _most_urgent(items: Sequence[WorklistItem]) -> Priority | None:
    told = [priority for item in items if (priority := requested_priority(item.priority)) is not None]
    return min(told, default=None)
