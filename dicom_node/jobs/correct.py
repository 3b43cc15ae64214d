"""The corrector: what happened to patients, studies and images reaches the results that are here already.

It takes back, by itself, results of rejected images and results that were replaced, and has those written anew that
name another patient, study or order than is told now; a person has the rest of the work list.
"""

from __future__ import annotations

import logging

from dicom_node.archive import identities, open_items, parcel_checks, reissues, replacements, withdrawals
from dicom_node.archive.database import Database
from dicom_node.archive.identities import Open
from dicom_node.archive.open_items import OpenItem
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.reissues import Reissue
from dicom_node.archive.withdrawals import Withdrawal
from dicom_node.errors import DicomNodeError
from dicom_node.settings import Settings

log = logging.getLogger(__name__)

_BY = "corrector"


class Corrector:
    """One pass does what is to be done. Harmless if doubled."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._desk = Desk.of(settings)
        self._understand_notes = frozenset(peer.name for peer in settings.peers if peer.rejection_notes)
        self._hopeless: set[tuple[str, int]] = set()  # what cannot be seen to; said once

    def tick(self) -> int:
        """Returns how many results were taken back or written anew, or told of to one more destination."""
        items = open_items.listed(self._database, kind=open_items.WITHDRAW)
        done = sum(self._see_to(item) for item in items)
        for wanted in withdrawals.stragglers(self._database):
            done += bool(self._withdraw(wanted))
        done += replacements.settle(self._database, self._desk, self._understand_notes, _BY)
        done += sum(self._follow(event) for event in identities.unreached(self._database))
        return done + reissues.stragglers(self._database, self._desk, self._understand_notes)

    def _see_to(self, item: OpenItem) -> bool:
        if item.job_id is None:
            return False
        try:
            # The item is closed by the withdrawal itself, in the same transaction.
            self._withdraw(Withdrawal(item.job_id, item.reason))
        except DicomNodeError as error:
            self._cannot("item", item.id, f"the result of job {item.job_id} cannot be withdrawn: {error}")
            return False
        return True

    def _withdraw(self, wanted: Withdrawal) -> tuple[str, ...]:
        told = withdrawals.withdraw(self._database, self._desk, wanted, self._understand_notes, _BY)
        log.info("the result of job %d is withdrawn; told: %s", wanted.job_id, ", ".join(told) or "nobody")
        return told

    def _follow(self, event: Open) -> int:
        """Write the results anew that an event of identities concerns; how many sets."""
        try:
            found = [self._write_anew(event, set_id) for study in event.studies for set_id in self._sets(study)]
        except (DicomNodeError, OSError) as error:
            self._cannot("event", event.id, f"results cannot follow event {event.event_id} of {event.source}: {error}")
            return 0
        identities.reached(self._database, event.id)
        return sum(found)

    def _sets(self, study_id: int) -> tuple[int, ...]:
        return reissues.current_sets(self._database, study_id)

    def _write_anew(self, event: Open, set_id: int) -> bool:
        wanted = parcel_checks.corrections_wanted(self._database, set_id)
        if wanted is None:
            return False
        reason = "patient, study or order were corrected"
        order = Reissue(set_id, wanted, reason, f"{event.source} (event {event.event_id})")
        made = reissues.reissue(self._database, self._desk, order, self._understand_notes, _BY)
        log.info("result set %d is written anew, as %s", set_id, made)
        return made is not None

    def _cannot(self, what: str, number: int, words: str) -> None:
        if (what, number) not in self._hopeless:
            log.error("%s", words)
        self._hopeless.add((what, number))
