"""The courier: sends due parcels, one association per destination, until they have arrived."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from dicom_node.archive.parcels import Parcels
from dicom_node.delivery.backoff import pause_s
from dicom_node.dimse.send import OutgoingObject, SendOutcome
from dicom_node.domain.parcel import Parcel
from dicom_node.errors import DicomNodeError, PeerError
from dicom_node.settings import PeerSettings, Settings

log = logging.getLogger(__name__)


class Sends(Protocol):
    """What sends objects over one association; ``dicom_node.dimse.send.send`` is the real one."""

    def __call__(
        self, peer: PeerSettings, calling_ae: str, objects: Sequence[OutgoingObject]
    ) -> Sequence[SendOutcome]: ...


class Courier:
    """One pass sends what is due; a parcel that fails waits longer each time and is never given up."""

    def __init__(self, settings: Settings, parcels: Parcels, send: Sends) -> None:
        self._settings = settings
        self._parcels = parcels
        self._send = send

    def tick(self) -> int:
        """Try every due parcel once; returns how many arrived."""
        groups: dict[str, list[Parcel]] = defaultdict(list)
        for parcel in self._parcels.due():
            groups[parcel.destination].append(parcel)
        return sum(self._deliver(destination, parcels) for destination, parcels in groups.items())

    def _deliver(self, destination: str, parcels: Sequence[Parcel]) -> int:
        peer = self._settings.peer(destination)
        if peer is None:
            error = PeerError(
                f"no peer is named {destination!r} any more",
                reason="unknown-peer",
                remedy=f"add [[peers]] with name = {destination!r} to the configuration",
            )
            return self._failed(parcels, error)
        try:
            outcomes = self._send(peer, self._settings.node.ae_title, self._objects(parcels))
        except PeerError as error:
            return self._failed(parcels, error)
        told = {outcome.sop_instance_uid: outcome for outcome in outcomes}
        return sum(self._settle(parcel, told, peer) for parcel in parcels)

    def _objects(self, parcels: Sequence[Parcel]) -> list[OutgoingObject]:
        root = self._settings.node.data_dir
        return [
            OutgoingObject(Path(root / made.path), made.sop_class, made.sop_uid, made.transfer_syntax)
            for parcel in parcels
            for made in parcel.artifacts
        ]

    def _settle(self, parcel: Parcel, told: dict[str, SendOutcome], peer: PeerSettings) -> int:
        missing = [made for made in parcel.artifacts if made.sop_uid not in told or not told[made.sop_uid].ok]
        if not missing:
            self._parcels.sent(parcel.id)
            log.info("parcel %d is in %s", parcel.id, peer.name)
            return 1
        first = told.get(missing[0].sop_uid)
        error = PeerError(
            f"{peer.name} did not take the {missing[0].kind.upper()}: {first.message if first else 'not sent'}",
            reason="not-stored",
            remedy=f"see the log of {peer.ae_title}; it is tried again by itself",
        )
        return self._failed([parcel], error)

    def _failed(self, parcels: Sequence[Parcel], error: DicomNodeError) -> int:
        delivery = self._settings.delivery
        for parcel in parcels:
            wait = pause_s(parcel.tries + 1, delivery.first_pause_seconds, delivery.longest_pause_seconds)
            self._parcels.failed(parcel.id, error, wait)
            log.warning("parcel %d not delivered, again in %.0f s: %s", parcel.id, wait, error)
        return 0
