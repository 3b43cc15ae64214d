"""The lane of one destination: sends what is due there, and looks for what was sent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from dicom_node.archive.parcels import Parcels
from dicom_node.delivery.backoff import pause_s
from dicom_node.delivery.verify import Verifier
from dicom_node.dimse.send import REFUSALS, OutgoingObject, SendOutcome
from dicom_node.domain.parcel import Artifact, Parcel
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, Settings

log = logging.getLogger(__name__)

_TOGETHER = 20  # parcels over one association; a parcel that is held meanwhile may still be among them
_MOST = 1000  # parcels that one failure of the destination puts off
_NOTED_EVERY_S = 1.0  # so much is sent again at most when we die


class Sends(Protocol):
    """Sends objects over one association; ``dicom_node.dimse.send.Sender.outcomes`` is the real one."""

    def __call__(
        self, peer: PeerSettings, calling_ae: str, objects: Sequence[OutgoingObject]
    ) -> Generator[SendOutcome, None, None]: ...


class Lane:
    """Deliveries to one peer, for one thread. A parcel that fails waits longer each time."""

    def __init__(
        self, settings: Settings, parcels: Parcels, send: Sends, verifier: Verifier, stop: threading.Event
    ) -> None:
        self._settings = settings
        self._parcels = parcels
        self._send = send
        self._verifier = verifier
        self._stop = stop

    def run(self, destination: str) -> None:
        """Everything that is due at this destination now."""
        peer = self._settings.peer(destination)
        try:
            if peer is None:
                raise _unknown(destination)
            while not self._stop.is_set() and (batch := self._parcels.due(destination, _TOGETHER)):
                self._deliver(batch, peer)
        except PeerError as error:
            for parcel in self._parcels.due(destination, _MOST):
                self._failed(parcel, error)
        for parcel in self._parcels.to_verify(destination):
            if self._stop.is_set():
                return
            if peer is None or peer.verify == "none":
                self._parcels.unverifiable(parcel.id, "not looked for")
            else:
                self._verifier.verify(parcel, peer)

    def _deliver(self, batch: Sequence[Parcel], peer: PeerSettings) -> None:
        """Send a batch of parcels over one association.

        Parcels whose turn did not come because the association was lost before are due as they were.

        Raises:
            PeerError: no association can be opened.
        """
        objects = [self._object(made) for parcel in batch for made in parcel.missing]
        with closing(self._send(peer, self._settings.node.ae_title, objects)) as outcomes:
            for parcel in batch:
                told = self._collect(parcel, outcomes)
                if self._stop.is_set() and len(told) < len(parcel.missing):
                    return
                self._settle(parcel, told, peer)

    def _collect(self, parcel: Parcel, outcomes: Iterator[SendOutcome]) -> list[SendOutcome]:
        """What became of the missing objects of a parcel; those that were taken are noted meanwhile."""
        told: list[SendOutcome] = []
        fresh: list[str] = []
        noted = time.monotonic()
        for _ in parcel.missing:
            if self._stop.is_set():
                break
            outcome = next(outcomes)
            told.append(outcome)
            if outcome.ok:
                fresh.append(outcome.sop_instance_uid)
            if fresh and time.monotonic() - noted > _NOTED_EVERY_S:
                self._parcels.took(parcel.id, fresh)
                fresh, noted = [], time.monotonic()
        if fresh:
            self._parcels.took(parcel.id, fresh)
        return told

    def _settle(self, parcel: Parcel, told: Iterable[SendOutcome], peer: PeerSettings) -> None:
        kinds = {made.sop_uid: made.kind.upper() for made in parcel.artifacts}
        bad = [outcome for outcome in told if not outcome.ok]
        if not bad:
            wait = self._settings.delivery.verify_after_seconds
            self._parcels.sent(parcel.id, verify_after_s=None if peer.verify == "none" else wait)
            log.info("parcel %d was sent to %s", parcel.id, peer.name)
            return
        # As long as there is anything else to try, a refusal is not the last word on the parcel.
        worst = min(bad, key=lambda outcome: (outcome.reason == "not-sent", outcome.reason in REFUSALS))
        if worst.reason == "not-sent":
            return
        error = PeerError(
            f"{peer.name} did not take the {kinds[worst.sop_instance_uid]}: {worst.message}"
            + (f" ({len(bad)} of {len(kinds)} objects are not there)" if len(kinds) > 1 else ""),
            reason=worst.reason,
            remedy=_REMEDIES.get(worst.reason, "see the log of {ae}; it is tried again by itself").format(
                ae=peer.ae_title
            ),
        )
        self._failed(parcel, error, worst.sop_instance_uid)

    def _failed(self, parcel: Parcel, error: PeerError, sop_uid: str = "") -> None:
        delivery = self._settings.delivery
        refusal = bool(sop_uid) and error.reason in REFUSALS
        if refusal and parcel.refusals + 1 >= delivery.refused_after_tries:
            self._parcels.refused(parcel.id, error, sop_uid=sop_uid)
            log.error("parcel %d is refused: %s", parcel.id, error)
            return
        wait = pause_s(parcel.tries + 1, delivery.first_pause_seconds, delivery.longest_pause_seconds)
        self._parcels.failed(parcel.id, error, wait, sop_uid=sop_uid, refusal=refusal)
        log.warning("parcel %d not delivered, again in %.0f s: %s", parcel.id, wait, error)

    def _object(self, made: Artifact) -> OutgoingObject:
        path = Path(self._settings.node.data_dir / made.path)
        return OutgoingObject(path, made.sop_class, made.sop_uid, made.transfer_syntax)


_REMEDIES = {
    "context-refused": "allow this SOP class and transfer syntax in {ae}, then: dicom-node parcels retry",
    "object-refused": "see the log of {ae} for what it does not like, then: dicom-node parcels retry",
    "out-of-resources": "make room in {ae}; it is tried again by itself",
    "unreadable-file": "restore the file from a backup, or run the job again",
}


def _unknown(destination: str) -> PeerError:
    return PeerError(
        f"no peer is named {destination!r} any more",
        reason="unknown-peer",
        remedy=f"add [[peers]] with name = {destination!r} to the configuration",
    )
