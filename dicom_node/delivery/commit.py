"""Asks peers for Storage Commitment of what they took, and draws the consequences of their answers.

The question stands in the ledger before it is asked. Its answer comes over the association of the question, or over
one that the peer opens to an acceptor, which puts it into the ledger. A peer that does not commit is looked into.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

from dicom_node.archive.commitment_requests import CommitmentRequests
from dicom_node.archive.parcels import Parcels
from dicom_node.delivery.backoff import pause_s
from dicom_node.delivery.verify import MOST_LOSSES, Verifier
from dicom_node.dimse.commitment_request import INVALID_ARGUMENT, SUCCESS, CommitmentAssociation
from dicom_node.domain.commitment import Reference
from dicom_node.domain.commitment_answer import Action, Answer, judge
from dicom_node.domain.identifiers import uid_from_uuid
from dicom_node.domain.parcel import Parcel, ParcelState
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, Settings

log = logging.getLogger(__name__)

MOST_ASKS = 3  # questions without an answer, or with one that says nothing, before the peer is looked into
SAME_ASSOCIATION_S = 3.0  # how long a report is waited for there; most peers open a new association for it
_NEVER = (0x0112, 0x0118, 0x0119, 0x0122, 0x0123, 0x0124, 0x0211)  # N-ACTION statuses of a peer that does not commit


class Committer:
    """For any number of threads, each with parcels of its own."""

    def __init__(
        self,
        settings: Settings,
        parcels: Parcels,
        verifier: Verifier,
        same_association_s: float = SAME_ASSOCIATION_S,
    ) -> None:
        self._settings = settings
        self._parcels = parcels
        self._requests = CommitmentRequests(parcels.database)
        self._verifier = verifier
        self._same_association_s = same_association_s

    def verify(self, parcels: Sequence[Parcel], peer: PeerSettings) -> None:
        """Take in answers, and ask about the parcels that have none."""
        to_ask: list[Parcel] = []
        for parcel in parcels:
            if self._take_in(parcel, peer):
                continue
            asks = self._requests.asks(parcel.id, parcel.sent_at)
            if asks < MOST_ASKS:
                to_ask.append(parcel)
            else:
                self._verifier.verify(parcel, peer, f"{peer.name} was asked {asks} times for commitment in vain")
        if to_ask:
            self._ask(to_ask, peer)

    def _take_in(self, parcel: Parcel, peer: PeerSettings) -> bool:
        """Whether there is an answer, or one may still come."""
        answer = self._requests.answer(parcel.id, parcel.sent_at)
        if answer is not None:
            self._conclude(parcel, peer, answer)
            self._requests.settle(answer.transaction_uid)
            return True
        if parcel.state is ParcelState.PRESENT:
            self._parcels.stays_present(parcel.id, parcel.verification)
            return True
        return self._requests.wait_on(parcel.id, parcel.sent_at)

    def _ask(self, parcels: Sequence[Parcel], peer: PeerSettings) -> None:
        """Ask about several parcels over one association."""
        asked: list[str] = []
        ahead = list(parcels)
        try:
            with CommitmentAssociation(
                peer,
                self._settings.node.ae_title,
                lambda answer: self._keep(peer, answer),
                tls=self._settings.tls,
                timeout_s=self._settings.delivery.timeout_seconds,
            ) as association:
                while ahead:
                    asked += self._ask_one(association, ahead[0], peer)
                    ahead.pop(0)
                association.wait(self._same_association_s, lambda: not self._requests.unanswered(asked))
        except PeerError as error:
            for parcel in ahead:
                if error.reason == "context-refused":
                    self._verifier.verify(parcel, peer, error.message)
                else:
                    self._parcels.look_again(parcel.id, f"not asked yet: {error.message}", self._pause_s(parcel))

    def _ask_one(self, association: CommitmentAssociation, parcel: Parcel, peer: PeerSettings) -> list[str]:
        """The Transaction UID of a question that was taken."""
        delivery = self._settings.delivery
        transaction_uid = uid_from_uuid(uuid.uuid4())
        references = [Reference(made.sop_class, made.sop_uid) for made in parcel.artifacts]
        self._requests.ask(parcel.id, parcel.study_id, peer.name, transaction_uid, delivery.commitment_wait_seconds)
        try:
            status = association.ask(transaction_uid, references)
        except PeerError:
            self._requests.unsent(transaction_uid)
            raise
        if status == SUCCESS:
            return [transaction_uid]
        self._requests.settle(transaction_uid)
        words = f"{peer.name} answers 0x{status:04X} when it is asked for commitment"
        if status in _NEVER:
            self._verifier.verify(parcel, peer, words)
        else:
            self._parcels.look_again(parcel.id, words, self._pause_s(parcel))
        return []

    def _keep(self, peer: PeerSettings, answer: Answer) -> int:
        """An answer over the association of the question; the status that it is answered with."""
        if self._requests.answered([peer.name], answer):
            return SUCCESS
        log.warning("%s reports of a transaction it was not asked for: %s", peer.name, answer.transaction_uid)
        return INVALID_ARGUMENT

    def _conclude(self, parcel: Parcel, peer: PeerSettings, answer: Answer) -> None:
        told = judge([made.sop_uid for made in parcel.artifacts], answer)
        words = f"{peer.name} does not commit: {told.words}"
        if told.action is Action.NOTHING:
            self._parcels.committed(parcel.id, "committed to by Storage Commitment")
            log.info("parcel %d is committed to by %s", parcel.id, peer.name)
        elif told.action is Action.REFUSE or (told.action is Action.SEND and parcel.losses + 1 >= MOST_LOSSES):
            log.error("parcel %d: %s", parcel.id, words)
            self._parcels.refused(parcel.id, _not_committed(peer, words), sop_uid=told.sop_uids[0])
        elif told.action is Action.SEND:
            log.warning("parcel %d: %s", parcel.id, words)
            self._parcels.lost(parcel.id, told.sop_uids, _not_committed(peer, words))
        elif parcel.state is ParcelState.PRESENT:
            self._parcels.stays_present(parcel.id, f"{parcel.verification}; {words}")
        elif told.action is Action.LOOK or self._requests.asks(parcel.id, parcel.sent_at) >= MOST_ASKS:
            self._verifier.verify(parcel, peer, words)
        else:
            self._parcels.look_again(parcel.id, words, self._pause_s(parcel))

    def _pause_s(self, parcel: Parcel) -> float:
        delivery = self._settings.delivery
        return pause_s(parcel.checks + 1, delivery.first_pause_seconds, delivery.longest_pause_seconds)


def _not_committed(peer: PeerSettings, words: str) -> PeerError:
    return PeerError(
        words,
        reason="not-committed",
        remedy=f"see the log of {peer.ae_title} for what it does not like, then: dicom-node parcels retry",
    )
