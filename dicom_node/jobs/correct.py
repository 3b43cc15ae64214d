"""The corrector: takes back, by itself, results of rejected images; a person has the rest of the work list."""

from __future__ import annotations

import logging

from dicom_node.archive import open_items, withdrawals
from dicom_node.archive.database import Database
from dicom_node.archive.open_items import OpenItem
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.withdrawals import Withdrawal
from dicom_node.errors import DicomNodeError
from dicom_node.settings import Settings

log = logging.getLogger(__name__)

_BY = "corrector"


class Corrector:
    """One pass withdraws what is to be withdrawn. Harmless if doubled."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._desk = Desk.of(settings)
        self._understand_notes = frozenset(peer.name for peer in settings.peers if peer.rejection_notes)
        self._hopeless: set[int] = set()  # items that cannot be seen to; said once

    def tick(self) -> int:
        """Returns how many results were taken back, or told of to one more destination."""
        items = open_items.listed(self._database, kind=open_items.WITHDRAW)
        done = sum(self._see_to(item) for item in items)
        for wanted in withdrawals.stragglers(self._database):
            done += bool(self._withdraw(wanted))
        return done

    def _see_to(self, item: OpenItem) -> bool:
        if item.job_id is None:
            return False
        try:
            # The item is closed by the withdrawal itself, in the same transaction.
            self._withdraw(Withdrawal(item.job_id, item.reason))
        except DicomNodeError as error:
            if item.id not in self._hopeless:
                log.error("the result of job %d cannot be withdrawn: %s", item.job_id, error)
            self._hopeless.add(item.id)
            return False
        return True

    def _withdraw(self, wanted: Withdrawal) -> tuple[str, ...]:
        told = withdrawals.withdraw(self._database, self._desk, wanted, self._understand_notes, _BY)
        log.info("the result of job %d is withdrawn; told: %s", wanted.job_id, ", ".join(told) or "nobody")
        return told
