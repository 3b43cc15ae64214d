"""Whether a destination has what it took: sent is not yet present."""

from __future__ import annotations

import logging

from dicom_node.archive.parcels import Parcels
from dicom_node.delivery.backoff import pause_s
from dicom_node.delivery.destination import Destinations, outgoing
from dicom_node.domain.parcel import Parcel
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, Settings

log = logging.getLogger(__name__)

MOST_CHECKS = 3  # looks at a peer that answers, before its answer counts
MOST_LOSSES = 3  # times that a parcel is sent again because it was not found
_UNABLE = ("context-refused", "status", "too-many", "not-dicom")  # it was reached and cannot tell


class Verifier:
    """Looks for sent parcels in the destination, in the way of its kind; what is not there is due again.

    A peer that cannot be reached is asked again and again, one that cannot tell is left with its word. One that took
    the objects several times and still does not show them is a matter for a person.
    """

    def __init__(self, settings: Settings, parcels: Parcels, destinations: Destinations) -> None:
        self._settings = settings
        self._parcels = parcels
        self._destinations = destinations

    def verify(self, parcel: Parcel, peer: PeerSettings, why: str = "") -> None:
        """Ask once, and note what came of it; ``why`` more was not to be had, such as a commitment."""
        destination = self._destinations[peer.kind]
        objects = [outgoing(parcel, made, self._settings.node, peer) for made in parcel.artifacts]
        try:
            held = destination.holds(peer, objects)
        except PeerError as error:
            self._untold(parcel, error, why)
            return
        gone = [made.sop_uid for made in parcel.artifacts if made.sop_uid not in held]
        if not gone:
            self._parcels.present(parcel.id, _with(f"found by {destination.looks_by}", why))
            log.info("parcel %d was found in %s", parcel.id, peer.name)
        elif parcel.checks + 1 < MOST_CHECKS:
            words = f"{peer.name} does not show {len(gone)} of {len(parcel.artifacts)} objects yet"
            self._parcels.look_again(parcel.id, _with(words, why), self._pause_s(parcel))
        else:
            self._gone(parcel, peer, gone)

    def _gone(self, parcel: Parcel, peer: PeerSettings, gone: list[str]) -> None:
        place = peer.ae_title or peer.name
        error = PeerError(
            f"{peer.name} answered with Success {parcel.losses + 1} time(s) and does not show {len(gone)} of "
            f"{len(parcel.artifacts)} objects",
            reason="not-found",
            remedy=f'look for it in {place}; if that is a router or changes UIDs, set verify = "none" for it',
        )
        log.warning("parcel %d: %s", parcel.id, error)
        if parcel.losses + 1 < MOST_LOSSES:
            self._parcels.lost(parcel.id, gone, error)
        else:
            self._parcels.refused(parcel.id, error)

    def _untold(self, parcel: Parcel, error: PeerError, why: str) -> None:
        final = error.reason == "context-refused" or parcel.checks + 1 >= MOST_CHECKS
        if error.reason in _UNABLE and final:
            self._parcels.unverifiable(parcel.id, _with(f"sent, cannot be verified: {error.message}", why))
            log.info("parcel %d cannot be verified: %s", parcel.id, error)
        else:
            self._parcels.look_again(parcel.id, _with(f"not verified yet: {error.message}", why), self._pause_s(parcel))

    def _pause_s(self, parcel: Parcel) -> float:
        delivery = self._settings.delivery
        return pause_s(parcel.checks + 1, delivery.first_pause_seconds, delivery.longest_pause_seconds)


def _with(words: str, why: str) -> str:
    return f"{words}; {why}" if why else words
