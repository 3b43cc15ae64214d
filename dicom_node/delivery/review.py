"""After delivery: does the destination still have the images under the patient, study and order that the result names?

A merge, a move or a deletion in the PACS itself is told to nobody. So each delivered result is compared with the
record of its destination once a day, for some days: what does not fit, three times in a row, is written anew where the
entry of the peer says so, or becomes an item of the work list. Each has its own hour of the day, that of its delivery.
"""

from __future__ import annotations

import logging

from dicom_node.archive import parcel_checks, reviews
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.parcel_checks import Check
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.reissues import Reissue, reissue
from dicom_node.delivery.destination import Destinations
from dicom_node.domain.parcel import Parcel
from dicom_node.domain.record import NO_CHANGES, Match, Verdict, judge
from dicom_node.errors import DicomNodeError, InputError, PeerError
from dicom_node.settings import PeerSettings, Settings

log = logging.getLogger(__name__)

MOST_DOUBTS = 3  # looks at a record that does not fit, before that counts
AGAIN_S = 300.0  # between them
_AT_ONCE = 10  # parcels in a pass
_KINDS = {
    Match.DIFFERENT: "record-differs",
    Match.CONTRADICTORY: "record-contradictory",
    Match.GONE: "images-gone",
}


class Review:
    """One pass asks about some delivered results. Harmless if doubled."""

    def __init__(
        self, settings: Settings, parcels: Parcels, destinations: Destinations, again_s: float = AGAIN_S
    ) -> None:
        self._settings = settings
        self._parcels = parcels
        self._destinations = destinations
        self._desk = Desk.of(settings)
        self._understand_notes = frozenset(peer.name for peer in settings.peers if peer.rejection_notes)
        self._again_s = again_s

    def tick(self) -> int:
        """Returns how many results were asked about."""
        days = self._settings.delivery.recheck_days
        asked = [peer.name for peer in self._settings.peers if peer.is_checked]
        if not days or not asked:
            return 0
        found = self._parcels.claimed(reviews.due(self._parcels.database, asked, days, _AT_ONCE))
        for parcel in found:
            peer = self._settings.peer(parcel.destination)
            if peer is not None:
                self._look(parcel, peer)
        return len(found)

    def _look(self, parcel: Parcel, peer: PeerSettings) -> None:
        database = self._parcels.database
        try:
            check = parcel_checks.check_of(database, parcel, peer.ae_title)
            within_s = self._settings.delivery.check_seconds
            records = self._destinations[peer.kind].records(peer, check.subject, within_s)
        except PeerError as error:
            reviews.reviewed(
                database, parcel.id, f"{peer.name} could not be asked how it has the images: {error.message}"
            )
            return
        except InputError as error:  # our own file is gone, which the check of the archive tells
            reviews.reviewed(database, parcel.id, error.message)
            return
        verdict = judge(check.subject, records or (), peer.changes or NO_CHANGES)
        kind = _KINDS.get(verdict.match)
        if kind is None or verdict.difference == parcel.cleared:
            reviews.reviewed(database, parcel.id, verdict.words)
        elif check.doubts + 1 < MOST_DOUBTS:
            reviews.doubted(database, parcel.id, f"{peer.name}: {verdict.words}", self._again_s)
        else:
            self._see_to(parcel, peer, check, verdict, kind)

    def _see_to(self, parcel: Parcel, peer: PeerSettings, check: Check, verdict: Verdict, kind: str) -> None:
        database, words = self._parcels.database, f"{peer.name}: {verdict.words}"
        rule = self._settings.rule(check.rule)
        wanted = (rule and rule.on_difference) or peer.on_difference
        if verdict.match is Match.DIFFERENT and wanted == "reissue" and verdict.corrections:
            values = {**check.corrected, **verdict.corrections}
            order = Reissue(check.set_id, values, words, peer.name, (peer.name,))
            try:
                made = reissue(database, self._desk, order, self._understand_notes, "review")
            except (DicomNodeError, OSError) as error:
                log.error("parcel %d has to be written anew, and cannot be: %s", parcel.id, error)
                reviews.reviewed(database, parcel.id, words)
                return
            log.warning("parcel %d: its objects are written anew, as result set %s", parcel.id, made)
            return
        reviews.open_item(database, parcel, kind, words, _remedy(parcel, verdict), verdict.difference)
        log.warning("parcel %d, which was delivered: %s", parcel.id, kind)


def _remedy(parcel: Parcel, verdict: Verdict) -> str:
    if verdict.match is Match.GONE:
        return f"take the result back: dicom-node results withdraw {parcel.job_id}; or close the item"
    return (
        f"tell what is right: dicom-node studies correct {parcel.study_uid}, or dicom-node patients merge; the result "
        "is then written anew. Or correct it there, and close the item"
    )
