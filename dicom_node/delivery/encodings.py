"""What a destination takes: Segmentations go first where it may get other ones when it refuses them; companions that it
does not want are left out, and where its entry names none, also those that it refuses."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

from dicom_node.archive import refusals
from dicom_node.archive.companions import leave_out
from dicom_node.archive.fallback import FallBack, fall_back, next_profile
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.parcels import Parcels
from dicom_node.domain.parcel import Artifact, Parcel, Purpose
from dicom_node.domain.profile import KIND_OF, Companion, Profile, base_of
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
        return next_profile(self._database, parcel, peer.profiles) if first(parcel) else None

    def without_unwanted(self, parcel: Parcel, peer: PeerSettings) -> Parcel:
        """The parcel with the companions alone that its destination wants."""
        kinds = {KIND_OF[each] for each in Companion if each not in peer.companions}
        return self._without(parcel, [made for made in parcel.artifacts if made.kind in kinds], "")

    def settle(
        self, parcel: Parcel, peer: PeerSettings, told: Sequence[SendOutcome]
    ) -> tuple[Parcel, list[SendOutcome]]:
        """Go without the companions that a destination refuses and that nobody has told it to get; what is left."""
        if peer.results or all(outcome.ok for outcome in told):
            return parcel, list(told)
        refused = {each.sop_instance_uid: each for each in told if not each.ok and self.refuses(parcel, each)}
        dropped = [m for m in parcel.artifacts if m.sop_uid in refused and m.kind in KIND_OF.values()]
        for made in dropped:
            why = f"{peer.name} did not take the {made.kind.upper()}: {refused[made.sop_uid].message}"
            parcel = self._without(parcel, [made], why)
        gone = {made.sop_uid for made in dropped}
        return parcel, [outcome for outcome in told if outcome.sop_instance_uid not in gone]

    def _without(self, parcel: Parcel, dropped: Sequence[Artifact], why: str) -> Parcel:
        if parcel.purpose is not Purpose.RESULT or not dropped:
            return parcel
        leave_out(self._database, parcel.id, [made.sop_uid for made in dropped], why)
        return replace(parcel, artifacts=tuple(made for made in parcel.artifacts if made not in dropped))

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
