"""Which encoding a destination takes: Segmentations go first where it may get another one when it refuses them."""

from __future__ import annotations

import logging
from collections.abc import Collection

from dicom_node.archive import refusals
from dicom_node.archive.fallback import FallBack, fall_back, next_profile
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.parcels import Parcels
from dicom_node.domain.parcel import Artifact, Parcel
from dicom_node.domain.profile import Profile, base_of
from dicom_node.domain.sending import SendOutcome
from dicom_node.errors import InputError, PeerError
from dicom_node.settings import PeerSettings, Settings

log = logging.getLogger(__name__)

SOP_CLASS_NOT_SUPPORTED = 0x0122
_ENCODED = "seg"  # the kind of object that differs from profile to profile


class Encodings:
    """For any number of lanes."""

    def __init__(self, settings: Settings, parcels: Parcels) -> None:
        self._settings = settings
        self._database = parcels.database
        self._desk = Desk.of(settings)
        self._understand_notes: Collection[str] = frozenset(
            peer.name for peer in settings.peers if peer.rejection_notes
        )

    def next(self, parcel: Parcel, peer: PeerSettings) -> Profile | None:
        """What the peer gets when it refuses the Segmentation of this parcel; None: nothing else, or there is none."""
        return next_profile(self._database, parcel, peer.results) if first(parcel) else None

    def refuses(self, parcel: Parcel, outcome: SendOutcome) -> bool:
        """Whether this is the peer's last word on the encoding: it will not be another one the next time."""
        if _knows_it_not(outcome):
            return True
        last = parcel.refusals + 1 >= self._settings.delivery.refused_after_tries
        return outcome.reason == "object-refused" and last

    def fall_back(self, parcel: Parcel, peer: PeerSettings, profile: Profile, outcome: SendOutcome) -> PeerError | None:
        """Have the peer get its results as ``profile``; what keeps it from being done now, if anything does."""
        error = PeerError(f"{peer.name} did not take the SEG: {outcome.message}", reason=outcome.reason)
        wanted = FallBack(parcel, profile, error, lasting=_knows_it_not(outcome))
        try:
            if fall_back(self._database, self._desk, wanted, self._understand_notes, "courier"):
                log.warning("parcel %d: %s does not take its encoding and gets %s", parcel.id, peer.name, profile)
        except (InputError, OSError) as trouble:
            told = trouble.message if isinstance(trouble, InputError) else str(trouble)
            return PeerError(f"{error.message}; it cannot get {profile} yet: {told}", reason="not-encoded")
        return None

    def takes(self, parcel: Parcel, peer: PeerSettings) -> None:
        """The peer has taken the Segmentation of this parcel, whatever it refused before."""
        if profile := base_of(parcel.profile):
            refusals.forget(self._database, peer.name, profile)


def _knows_it_not(outcome: SendOutcome) -> bool:
    """Whether it is the SOP class or transfer syntax that the peer does not take, not this object."""
    return outcome.reason == "context-refused" or outcome.status == SOP_CLASS_NOT_SUPPORTED


def first(parcel: Parcel) -> tuple[Artifact, ...]:
    """What of a parcel is to be taken before anything else of it is sent."""
    return tuple(made for made in parcel.missing if made.kind == _ENCODED)
