"""A lane to one destination: sends what is due there, and looks for what was sent. A destination may have several."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime

from dicom_node.archive.claims import Claims
from dicom_node.archive.parcels import Parcels
from dicom_node.delivery.backoff import pause_s
from dicom_node.delivery.bandwidth import Bandwidth, unlimited
from dicom_node.delivery.commit import Committer
from dicom_node.delivery.destination import Destinations, outgoing
from dicom_node.delivery.encodings import Encodings, first
from dicom_node.delivery.opening import Opening, now, opening, rule_opens
from dicom_node.delivery.recheck import Recheck
from dicom_node.delivery.verify import Verifier
from dicom_node.domain.parcel import Artifact, Parcel, ParcelState
from dicom_node.domain.profile import Profile
from dicom_node.domain.sending import REFUSALS, SendOutcome
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, Settings

log = logging.getLogger(__name__)

LEASE_S = 30.0  # on parcels of a lane; the courier renews it long before it ends
_TOGETHER = 20  # parcels over one association; a parcel that is held meanwhile may still be among them
_LOOKED_FOR = 100  # parcels each time
_MOST = 1000  # parcels that one failure of the destination puts off
_NOTED_EVERY_S = 1.0  # so much is sent again at most when we die


class Lane:
    """Deliveries to one peer, for one thread each time it runs. A parcel that fails waits longer each time."""

    def __init__(
        self,
        settings: Settings,
        parcels: Parcels,
        destinations: Destinations,
        committer: Committer,
        stop: threading.Event,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._settings = settings
        self._parcels = parcels
        self._claims = Claims(parcels.database)
        self._destinations = destinations
        self._verifier = Verifier(settings, parcels, destinations)
        self._recheck = Recheck(settings, parcels, destinations)
        self._encodings = Encodings(settings, parcels)
        self._committer = committer
        self._stop = stop
        self._clock = clock
        self._bandwidth = {
            peer.name: Bandwidth(peer.send_bytes_per_second, wait=stop.wait)
            for peer in settings.peers
            if peer.send_bytes_per_second
        }

    def run(self, destination: str, owner: str = "lane") -> None:
        """Everything that is due at this destination now; ``owner`` names this lane in its claims."""
        peer = self._settings.peer(destination)
        while not self._stop.is_set() and (batch := self._claim(destination, peer, owner)):
            settled: set[int] = set()
            try:
                if peer is None:
                    raise _unknown(destination)
                self._deliver(batch, peer, settled)
            except PeerError as error:
                self._put_off([parcel for parcel in batch if parcel.id not in settled], error)
                self._put_off(self._parcels.due(destination, _MOST), error)
                break
            finally:
                self._claims.release(owner)
        self._verify(destination, peer, owner)

    def _claim(self, destination: str, peer: PeerSettings | None, owner: str) -> tuple[Parcel, ...]:
        may = Opening.OPEN if peer is None else opening(peer, self._clock(), self._settings.node.time_zone)
        if may is Opening.CLOSED:
            return ()
        limit = _TOGETHER
        if peer is not None and peer.connections > 1:  # leave the other connections their share
            limit = min(_TOGETHER, max(1, self._claims.waiting(destination) // peer.connections))
        numbers = self._claims.to_send(destination, owner, LEASE_S, limit, stat_only=may is Opening.STAT)
        return tuple(parcel for parcel in self._parcels.claimed(numbers) if self._may_go(parcel))

    def _may_go(self, parcel: Parcel) -> bool:
        """Whether the rule that sends it on lets it go now; otherwise it is put off until it does."""
        rule = self._settings.rule(parcel.rule)
        opens = rule_opens(rule, self._clock(), self._settings.node.time_zone) if rule else None
        if opens is not None:
            self._parcels.wait_until(parcel.id, opens)
        return opens is None

    def _verify(self, destination: str, peer: PeerSettings | None, owner: str) -> None:
        if self._stop.is_set():
            return
        try:
            sent = self._parcels.claimed(self._claims.to_verify(destination, owner, LEASE_S, _LOOKED_FOR))
            if peer is not None and peer.verify == "commitment":
                self._committer.verify(sent, peer)
                return
            for parcel in sent:
                if parcel.state is ParcelState.PRESENT:  # an answer that nobody waits for any more
                    self._parcels.stays_present(parcel.id, parcel.verification)
                elif peer is None or peer.verify == "none":
                    self._parcels.unverifiable(parcel.id, "not looked for")
                else:
                    self._verifier.verify(parcel, peer)
        finally:
            self._claims.release(owner)

    def _deliver(self, batch: Sequence[Parcel], peer: PeerSettings, settled: set[int]) -> None:
        """Send a batch of parcels over one association; ``settled`` are those whose end is noted.

        Parcels whose turn did not come because the association was lost before are due as they were.

        Raises:
            PeerError: the peer cannot be reached.
        """
        due = [self._encodings.without_unwanted(each, peer) for each in batch if self._recheck.may_go(each, peer)]
        going = {parcel.id for parcel in due}
        settled.update(parcel.id for parcel in batch if parcel.id not in going)
        others = {parcel.id: profile for parcel in due if (profile := self._encodings.next(parcel, peer))}
        before: dict[int, list[SendOutcome]] = {}
        if others:
            before = self._try_encodings([parcel for parcel in due if parcel.id in others], others, peer, settled)
            due = [_with_taken(parcel, before.get(parcel.id, ())) for parcel in due if parcel.id not in settled]
        with closing(self._send(peer, [(parcel, parcel.missing) for parcel in due])) as outcomes:
            for parcel in due:
                told = self._collect(parcel, len(parcel.missing), outcomes)
                if self._stop.is_set() and len(told) < len(parcel.missing):
                    return
                self._settle(parcel, [*before.get(parcel.id, ()), *told], peer)
                settled.add(parcel.id)

    def _try_encodings(
        self, parcels: Sequence[Parcel], others: Mapping[int, Profile], peer: PeerSettings, settled: set[int]
    ) -> dict[int, list[SendOutcome]]:
        """Send the Segmentations of parcels whose peer gets other ones when it refuses these; what it has taken.

        Nothing else of such a parcel goes before: its reports speak of the Segmentation.
        """
        taken: dict[int, list[SendOutcome]] = {}
        with closing(self._send(peer, [(parcel, first(parcel)) for parcel in parcels])) as outcomes:
            for parcel in parcels:
                told = self._collect(parcel, len(first(parcel)), outcomes)
                bad = [outcome for outcome in told if not outcome.ok]
                if not bad and len(told) == len(first(parcel)):
                    taken[parcel.id] = told
                    self._encodings.takes(parcel, peer)
                    continue
                settled.add(parcel.id)
                if bad and self._encodings.refuses(parcel, bad[0]):
                    if trouble := self._encodings.fall_back(parcel, peer, others[parcel.id], bad[0]):
                        self._failed(parcel, trouble)
                elif bad:
                    self._settle(parcel, told, peer)
        return taken

    def _send(
        self, peer: PeerSettings, parts: Sequence[tuple[Parcel, Sequence[Artifact]]]
    ) -> Generator[SendOutcome, None, None]:
        """Send objects of parcels in order, over one association where there are any."""
        node = self._settings.node
        objects = [outgoing(parcel, made, node, peer) for parcel, artifacts in parts for made in artifacts]
        if not objects:
            return
        bandwidth = self._bandwidth.get(peer.name)
        paid = unlimited if bandwidth is None else bandwidth.spend
        yield from self._destinations[peer.kind].send(peer, objects, paid)

    def _collect(self, parcel: Parcel, count: int, outcomes: Iterator[SendOutcome]) -> list[SendOutcome]:
        """What became of the next ``count`` objects, of a parcel; those that were taken are noted meanwhile."""
        told: list[SendOutcome] = []
        fresh: list[str] = []
        noted = time.monotonic()
        try:
            for _ in range(count):
                if self._stop.is_set():
                    break
                outcome = next(outcomes)
                told.append(outcome)
                if outcome.ok:
                    fresh.append(outcome.sop_instance_uid)
                if fresh and time.monotonic() - noted > _NOTED_EVERY_S:
                    self._parcels.took(parcel.id, fresh)
                    fresh, noted = [], time.monotonic()
        finally:
            if fresh:
                self._parcels.took(parcel.id, fresh)
        return told

    def _settle(self, parcel: Parcel, told: Iterable[SendOutcome], peer: PeerSettings) -> None:
        kinds = {made.sop_uid: made.kind.upper() for made in parcel.artifacts}
        parcel, told = self._encodings.settle(parcel, peer, list(told))
        bad = [outcome for outcome in told if not outcome.ok]
        if not bad:
            wait = self._settings.delivery.verify_after_seconds
            notes = sorted({outcome.note for outcome in told if outcome.note})
            self._parcels.sent(parcel.id, verify_after_s=None if peer.verify == "none" else wait, notes=notes)
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
            remedy=_REMEDIES.get(worst.reason, "see the log of {peer}; it is tried again by itself").format(
                peer=peer.ae_title or peer.name
            ),
        )
        self._failed(parcel, error, worst.sop_instance_uid)

    def _put_off(self, parcels: Iterable[Parcel], error: PeerError) -> None:
        for parcel in parcels:
            self._failed(parcel, error)

    def _failed(self, parcel: Parcel, error: PeerError, sop_uid: str = "") -> None:
        delivery = self._settings.delivery
        refusal = bool(sop_uid) and error.reason in REFUSALS
        if refusal and parcel.refusals + 1 >= delivery.refused_after_tries:
            self._parcels.refused(parcel.id, error, sop_uid=sop_uid)
            log.error("parcel %d is refused: %s", parcel.id, error)
            return
        wait = pause_s(parcel.tries + 1, delivery.first_pause_seconds, delivery.longest_pause_seconds)
        wait = max(wait, error.retry_after_s)
        self._parcels.failed(parcel.id, error, wait, sop_uid=sop_uid, refusal=refusal)
        log.warning("parcel %d not delivered, again in %.0f s: %s", parcel.id, wait, error)


_REMEDIES = {
    "context-refused": "allow this SOP class and transfer syntax in {peer}, then: dicom-node parcels retry",
    "object-refused": "see the log of {peer} for what it does not like, then: dicom-node parcels retry",
    "out-of-resources": "make room in {peer}; it is tried again by itself",
    "unchangeable": "correct change of this peer in the settings, or the object, then: dicom-node parcels retry",
    "unreadable-file": "restore the file from a backup, or run the job again",
}


def _with_taken(parcel: Parcel, told: Iterable[SendOutcome]) -> Parcel:
    """The parcel as it is after the peer has taken some of its objects."""
    return replace(parcel, taken=parcel.taken | {outcome.sop_instance_uid for outcome in told if outcome.ok})


def _unknown(destination: str) -> PeerError:
    return PeerError(
        f"no peer is named {destination!r} any more",
        reason="unknown-peer",
        remedy=f"add [[peers]] with name = {destination!r} to the configuration",
    )
