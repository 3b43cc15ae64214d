"""Storage Commitment Push Model as the one who asks (PS3.4 J): N-ACTION goes out, N-EVENT-REPORT comes in.

A report may come over the association of the question, or over one that the peer opens to our acceptor, which
``commitment`` serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from dicom_node.dimse import command
from dicom_node.dimse.associate import NO_FILES, Association, Proposal
from dicom_node.dimse.command import Command
from dicom_node.dimse.connect import name
from dicom_node.dimse.framing import MALFORMED
from dicom_node.domain.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, Reference
from dicom_node.domain.commitment_answer import Answer
from dicom_node.domain.identifiers import is_valid_uid
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, TlsSettings

SUCCESS = 0x0000
INVALID_ARGUMENT = 0x0115
_PROPOSAL = Proposal(PUSH_MODEL, ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"))
_LOOK_S = 0.5

TakeAnswer = Callable[[Answer], int]  # keeps an answer; the status that its report is answered with


class CommitmentAssociation:
    """An association over which commitment is asked for. Use as a context manager."""

    def __init__(
        self,
        peer: PeerSettings,
        calling_ae: str,
        take: TakeAnswer,
        *,
        tls: TlsSettings = NO_FILES,
        timeout_s: float = 30.0,
    ) -> None:
        """
        Raises:
            PeerError: it cannot be opened, or the peer does not take the Push Model (``context-refused``).
        """
        self._peer = peer
        self._take = take
        self._association = Association(peer, calling_ae, [_PROPOSAL], timeout_s=timeout_s, tls=tls)
        agreed = self._association.agreed(_PROPOSAL)
        if agreed is None:
            why = self._association.refused(_PROPOSAL)
            self._association.release()
            raise PeerError(f"{name(peer)}: Storage Commitment is not accepted ({why})", reason="context-refused")
        self._context = agreed.id
        self._syntax = UID(agreed.transfer_syntax)

    def __enter__(self) -> CommitmentAssociation:
        return self

    def __exit__(self, *error: object) -> None:
        self._association.__exit__(*error)  # type: ignore[arg-type]

    def ask(self, transaction_uid: str, references: Sequence[Reference]) -> int:
        """Ask; the status of the response. Reports that come meanwhile are taken.

        Raises:
            PeerError: there is no answer.
        """
        information = Dataset()
        information.TransactionUID = transaction_uid
        information.ReferencedSOPSequence = [_item(reference) for reference in references]
        data = encode(information, self._syntax.is_implicit_VR, self._syntax.is_little_endian) or b""
        message_id = self._association.next_message_id()
        self._association.send(self._context, command.action_request(PUSH_MODEL, PUSH_MODEL_INSTANCE, message_id), data)
        while True:
            message, told = self._association.receive()
            if message.field == command.N_ACTION_RSP and message.number(0x0120) == message_id:
                status = message.number(0x0900)
                return INVALID_ARGUMENT if status is None else status
            self._take_report(message, told)

    def wait(self, seconds: float, done: Callable[[], bool]) -> None:
        """Take reports for so long, or until ``done``.

        Raises:
            PeerError: the association is lost.
        """
        deadline = time.monotonic() + seconds
        while not done() and (left := deadline - time.monotonic()) > 0:
            if self._association.has_more(min(left, _LOOK_S)):
                self._take_report(*self._association.receive())

    def _take_report(self, message: Command, data: bytes) -> None:
        if message.field != command.N_EVENT_REPORT_RQ:
            raise PeerError(f"{name(self._peer)}: it sent a message that nobody asked for", reason="not-dicom")
        try:
            status = self._take(answer_of(decode(BytesIO(data), self._syntax.is_implicit_VR, True)))
        except MALFORMED:
            status = INVALID_ARGUMENT
        self._association.send(self._context, command.event_report_response(message, status))


def answer_of(information: Dataset) -> Answer:
    """Read the Event Information of a report.

    Raises:
        ValueError: it has no Transaction UID.
    """
    transaction_uid = str(information.get("TransactionUID", ""))
    if not is_valid_uid(transaction_uid):
        raise ValueError("(0008,1195) Transaction UID is absent or no UID")
    committed = {
        str(item.get("ReferencedSOPInstanceUID", "")) for item in information.get("ReferencedSOPSequence") or ()
    }
    failures = {
        str(item.get("ReferencedSOPInstanceUID", "")): int(item.get("FailureReason") or 0x0110)
        for item in information.get("FailedSOPSequence") or ()
    }
    return Answer(transaction_uid, frozenset(committed), failures)


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class
    item.ReferencedSOPInstanceUID = reference.sop_uid
    return item
