"""Storage Commitment: peers ask whether we answer for what they sent, and delete it when we say so.

A peer that is relayed is answered for its archive, to which a rule sends on what comes, once that has committed itself.

In the acceptor's process the :class:`CommitmentDesk` puts a request into the ledger before it is answered. In the
node's the :class:`Verifier` reads every file that is meant, from the disk, and the :class:`Reporter` tells the peer
until it answers. A request that came over an association which is still open is reported there, by the desk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dicom_node.archive.commitments import Commitments
from dicom_node.archive.digests import Digests, digest_of
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.index import Index
from dicom_node.dimse.commitment import PROCESSING_FAILURE, SUCCESS, Channel, Report
from dicom_node.dimse.inbound import InboundAssociation
from dicom_node.domain.commitment import Commitment, FailureReason, Reference, Stored, candidates, relayed
from dicom_node.errors import DicomNodeError, InputError, PeerError
from dicom_node.settings import PeerSettings, Settings

LOGGER = logging.getLogger(__name__)

SETTLE_S = 1.0  # most peers release the association at once and wait for the report over a new one
LEASE_S = 15.0  # of an association that is open; renewed long before it ends
ANSWER_S = 30.0  # longest wait for the response to a report over an open association
CATCH_UP_S = 120.0  # longest wait for the indexer; what it does not know by then cannot be read
TICK_S = 5.0  # a pass of the verifier ends after about so long, to show that it lives
RELAY_S = 5.0  # between looks at what the archive has committed to
TROUBLE_S = 2.0  # pause of the desk when the ledger fails
_LOOK_S = 0.2
_DUPLICATE = 0x0115  # Invalid argument value: another request has this Transaction UID
_AGAIN = (0x0110, 0x0213)  # the peer is in trouble; any other answer ends the matter


@dataclass(slots=True)
class _Open:
    """An association over which requests came."""

    channel: Channel
    last_request: float  # monotonic time
    held_until: float
    reports: dict[str, tuple[Commitment, float]]  # Transaction UID -> what was reported, and when


class CommitmentDesk:
    """Takes requests, and reports over associations that are still open. For the process that accepts."""

    def __init__(self, settings: Settings, commitments: Callable[[], Commitments]) -> None:
        """``commitments`` opens the ledger; it is called at the first request, by when the node has made it."""
        self._peers = {peer.ae_title.strip(): peer for peer in reversed(settings.peers) if peer.commitment != "off"}
        self._connect = commitments
        self._commitments: Commitments | None = None
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}  # by our name for the association
        self._thread: threading.Thread | None = None

    def admits(self, calling_ae: str) -> bool:
        """Whether the settings of the peer let it ask for commitment."""
        return calling_ae.strip() in self._peers

    def request(
        self, association: InboundAssociation, transaction_uid: str, references: Sequence[Reference], channel: Channel
    ) -> int:
        """Put a request into the ledger; the status it is answered with."""
        peer = self._peers[association.calling_ae.strip()]
        now = time.monotonic()
        try:
            taken = self._ledger().request(peer.name, transaction_uid, references, association.id, LEASE_S)
        except DicomNodeError as error:
            LOGGER.error("a commitment request of %s cannot be kept: %s", peer.name, error.message)
            return PROCESSING_FAILURE
        if not taken:
            LOGGER.error("%s asks for other objects with the Transaction UID %s again", peer.name, transaction_uid)
            return _DUPLICATE
        with self._lock:
            known = self._open.setdefault(association.id, _Open(channel, now, now + LEASE_S, {}))
            known.last_request = now
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="commitment-desk", daemon=True)
                self._thread.start()
        return SUCCESS

    def _ledger(self) -> Commitments:
        with self._lock:
            self._commitments = self._commitments or self._connect()
            return self._commitments

    def _watch(self) -> None:
        while True:
            with self._lock:
                if not self._open:
                    self._thread = None
                    return
                associations = list(self._open.items())
            pause_s = _LOOK_S
            for name, one in associations:
                try:
                    self._look(name, one)
                except DicomNodeError as error:
                    LOGGER.error("commitment: %s", error.message)
                    pause_s = TROUBLE_S
                except Exception:
                    LOGGER.exception("commitment: unforeseen")
                    pause_s = TROUBLE_S
            time.sleep(pause_s)

    def _look(self, name: str, one: _Open) -> None:
        """Report what is due over one association."""
        ledger, now = self._ledger(), time.monotonic()
        if not one.channel.open:
            with self._lock:
                self._open.pop(name, None)
        for transaction_uid, (reported, at) in list(one.reports.items()):
            status = one.channel.answer(transaction_uid)
            if status is not None and status not in _AGAIN:
                ledger.reported(reported.id, status)
            elif status is not None or now - at > ANSWER_S:
                ledger.not_reported(reported.id, _unanswered(reported.peer, status), 0.0)
            else:
                continue
            del one.reports[transaction_uid]
        if name not in self._open:
            ledger.release(name)  # should this fail, its lease ends by itself
            return
        if now - one.last_request > SETTLE_S:
            for due in ledger.to_report_over(name):
                if due.transaction_uid not in one.reports:
                    one.channel.report(Report(due.transaction_uid, due.references, due.failures))
                    one.reports[due.transaction_uid] = (due, now)
        if now > one.held_until - LEASE_S / 2:
            ledger.hold(name, LEASE_S)
            one.held_until = now + LEASE_S


class Verifier:
    """Reads what peers ask about from the disk, one request after the other. For one thread of the node."""

    def __init__(self, settings: Settings, commitments: Commitments, index: Index, store: ObjectStore) -> None:
        self._settings = settings
        self._commitments = commitments
        self._index = index
        self._store = store
        self._digests = Digests(index.database)
        self._under_way: Iterator[None] | None = None

    def tick(self) -> bool:
        """Work for a while; whether something is left to do.

        Raises:
            LedgerError: the database failed; the request is verified anew.
        """
        until = time.monotonic() + TICK_S
        while time.monotonic() < until:
            if self._under_way is None:
                asked = next(iter(self._commitments.requested(limit=1)), None)
                if asked is None:
                    return False
                self._under_way = self._verify(asked)
            try:
                next(self._under_way)
            except StopIteration:
                self._under_way = None
            except BaseException:
                self._under_way = None
                raise
        return True

    def _verify(self, asked: Commitment) -> Iterator[None]:
        """Yields between files, so that a large request does not hold its thread."""
        yield from self._caught_up()
        peer = self._settings.peer(asked.peer)
        if peer is not None and peer.commitment == "relay":
            yield from self._relay(asked, peer)
            return
        stored: dict[str, list[Stored]] = {}
        for one in self._commitments.stored(reference.sop_uid for reference in asked.references):
            stored.setdefault(one.sop_uid, []).append(one)
        failures: dict[str, int] = {}
        keep: list[int] = []
        days = peer.commitment_days if peer is not None and peer.commitment == "archive" else None
        for reference in asked.references:
            found = candidates(reference, stored.get(reference.sop_uid, ()))
            if days is None:  # the settings have changed since it asked
                found = FailureReason.PROCESSING_FAILURE
            if isinstance(found, FailureReason):
                failures[reference.sop_uid] = found
                continue
            for one in found:
                if not self._is_sound(one):
                    failures[reference.sop_uid] = FailureReason.PROCESSING_FAILURE
                yield
            keep += [one.id for one in found if reference.sop_uid not in failures]
        LOGGER.info("commitment for %s: %d of %d refused", asked.peer, len(failures), len(asked.references))
        self._commitments.verified(asked, failures, keep, days or 0)

    def _relay(self, asked: Commitment, peer: PeerSettings) -> Iterator[None]:
        """Answer for the archive once it has committed to each object, or never will; else look again later."""
        found = self._commitments.relayed([reference.sop_uid for reference in asked.references], peer.relay_to)
        failures: dict[str, int] = {}
        waiting = 0
        patient = datetime.now(UTC) < asked.requested_at + timedelta(hours=peer.relay_hours)
        for reference in asked.references:
            told = relayed(reference, found.get(reference.sop_uid, ()))
            if told is None and patient:
                waiting += 1
            elif told is None or isinstance(told, FailureReason):
                failures[reference.sop_uid] = told or FailureReason.PROCESSING_FAILURE
            elif not all(map(self._is_sound, told)):
                failures[reference.sop_uid] = FailureReason.PROCESSING_FAILURE
            yield
        if waiting:
            self._commitments.wait(asked.id, RELAY_S)
            return
        LOGGER.info("commitment of %s for %s: %d refused", peer.relay_to, asked.peer, len(failures))
        self._commitments.verified(asked, failures, (), 0)

    def _caught_up(self) -> Iterator[None]:
        """Let the indexer take in every file that was there before: a request may come right behind its objects."""
        waiting = {self._store.relative(path) for segment in self._store.unsealed() for path in segment.objects()}
        patience = time.monotonic() + CATCH_UP_S
        while (waiting := waiting - self._index.known(sorted(waiting))) and time.monotonic() < patience:
            time.sleep(_LOOK_S)
            yield

    def _is_sound(self, one: Stored) -> bool:
        """Whether the file holds the bytes that came in."""
        try:
            digest = digest_of(self._store.absolute(one.path))
        except (InputError, OSError) as error:
            LOGGER.error("not committed to %s: %s", one.path, error)
            return False
        if not one.digest:  # it came in just now
            self._digests.note({one.id: digest})
        elif digest != one.digest:
            LOGGER.error("not committed to %s: it has changed on the disk", one.path)
            return False
        return True


class Reporter:
    """Tells peers over new associations, until they answer. For one thread of the node."""

    def __init__(
        self, settings: Settings, commitments: Commitments, send: Callable[[PeerSettings, str, Report], int]
    ) -> None:
        self._settings = settings
        self._commitments = commitments
        self._send = send

    def tick(self) -> int:
        """Report what is due; how many were answered.

        Raises:
            LedgerError: the database failed.
        """
        answered, silent = 0, dict[str, PeerError]()
        for due in self._commitments.to_report():
            trouble = silent.get(due.peer)
            if trouble is None:
                try:
                    answered += self._report(due)
                    continue
                except PeerError as error:
                    trouble = silent[due.peer] = error
            self._commitments.not_reported(due.id, trouble, self._pause_s(due.tries))
        return answered

    def _report(self, due: Commitment) -> int:
        peer = self._settings.peer(due.peer)
        if peer is None:
            raise PeerError(
                f"the settings know no peer {due.peer!r} any more",
                reason="unknown-peer",
                remedy="list it under [[peers]] again: it waits for an answer",
            )
        status = self._send(
            peer, self._settings.node.ae_title, Report(due.transaction_uid, due.references, due.failures)
        )
        if status in _AGAIN:
            raise _unanswered(due.peer, status)
        self._commitments.reported(due.id, status)
        return 1

    def _pause_s(self, tries: int) -> float:
        delivery = self._settings.delivery
        return float(min(delivery.longest_pause_seconds, delivery.first_pause_seconds * 2.0 ** min(tries, 60)))


def _unanswered(peer: str, status: int | None) -> PeerError:
    if status is None:
        return PeerError(f"{peer} did not answer the report in time", reason="no-answer", remedy="see its log")
    return PeerError(f"{peer} answered the report with 0x{status:04X}", reason="status", remedy="see its log")
