"""Storage Commitment Push Model (PS3.4 J) on the wire: N-ACTION comes in, N-EVENT-REPORT goes out.

The report goes over the association of the request while that is open, and else over a new one in which we keep
the role of the SCP (PS3.7 D.3.3.4).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RQ
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext, build_context

from dicom_node.dimse.associate import NO_FILES
from dicom_node.dimse.commitment_request import INVALID_ARGUMENT as INVALID_ARGUMENT
from dicom_node.dimse.commitment_request import SUCCESS as SUCCESS
from dicom_node.dimse.commitment_request import answer_of
from dicom_node.dimse.connect import name
from dicom_node.dimse.framing import MALFORMED
from dicom_node.dimse.inbound import InboundAssociation
from dicom_node.dimse.tls import client_context, is_bound
from dicom_node.domain.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, Reference
from dicom_node.domain.commitment_answer import Answer
from dicom_node.domain.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, is_valid_uid
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, TlsSettings

LOGGER = logging.getLogger(__name__)

PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124

_REQUEST_COMMITMENT = 1  # Action Type ID
_COMMITTED, _FAILURES_EXIST = 1, 2  # Event Type ID


@dataclass(frozen=True, slots=True)
class Report:
    """What is told of one transaction."""

    transaction_uid: str
    references: Sequence[Reference]
    failures: Mapping[str, int]  # SOP Instance UID -> Failure Reason

    @property
    def event_type(self) -> int:
        """Event Type ID (PS3.4 J.3.3.1)."""
        return _FAILURES_EXIST if self.failures else _COMMITTED

    def dataset(self) -> Dataset:
        """The Event Information. No Retrieve AE Title: what we keep cannot be fetched from us."""
        told = Dataset()
        told.TransactionUID = self.transaction_uid
        told.ReferencedSOPSequence = []
        failed = []
        for reference in self.references:
            item = Dataset()
            item.ReferencedSOPClassUID = reference.sop_class
            item.ReferencedSOPInstanceUID = reference.sop_uid
            if reference.sop_uid in self.failures:
                item.FailureReason = int(self.failures[reference.sop_uid])
                failed.append(item)
            else:
                told.ReferencedSOPSequence.append(item)
        if not told.ReferencedSOPSequence:
            del told.ReferencedSOPSequence  # PS3.4 Table J.3-2: absent where there is none
        if failed:
            told.FailedSOPSequence = failed
        return told


class Channel:
    """An open association over which a request came; its report may go back over it. For any thread."""

    def __init__(self, association: Any) -> None:
        self._association = association
        self._lock = threading.Lock()
        self._sent: dict[int, str] = {}  # Message ID -> Transaction UID
        self._answers: dict[str, int] = {}
        association.take_response = self._take

    @property
    def open(self) -> bool:
        """Whether the association still is."""
        return bool(self._association.is_established)

    def report(self, report: Report) -> None:
        """Send an N-EVENT-REPORT; :meth:`answer` tells what came back.

        Raises:
            PeerError: the association has ended.
        """
        context = next((cx for cx in self._association.accepted_contexts if cx.abstract_syntax == PUSH_MODEL), None)
        if context is None or not self.open:
            raise PeerError("the association has ended", reason="lost")
        with self._lock:
            message_id = len(self._sent) % 0xFFFF + 1
            self._sent[message_id] = report.transaction_uid
            self._answers.pop(report.transaction_uid, None)
        syntax = context.transfer_syntax[0]
        request = N_EVENT_REPORT()
        request.MessageID = message_id
        request.AffectedSOPClassUID = PUSH_MODEL
        request.AffectedSOPInstanceUID = PUSH_MODEL_INSTANCE
        request.EventTypeID = report.event_type
        encoded = encode(report.dataset(), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        request.EventInformation = BytesIO(encoded or b"")
        message = N_EVENT_REPORT_RQ()
        message.primitive_to_message(request)
        message.context_id = context.context_id
        pieces = list(message.encode_msg(context.context_id, self._association.dimse.maximum_pdu_size))
        self._send(pieces)

    def answer(self, transaction_uid: str) -> int | None:
        """The status of the peer's response to a report; None while there is none."""
        with self._lock:
            return self._answers.get(transaction_uid)

    def _send(self, pieces: list[Any]) -> None:
        # All at once: between the fragments of a message none of another may be sent (PS3.8 E.2), and the
        # association's own thread sends responses meanwhile.
        waiting = self._association.dul.to_provider_queue
        with waiting.mutex:
            waiting.queue.extend(pieces[:-1])
        self._association.dul.send_pdu(pieces[-1])

    def _take(self, response: Any) -> None:
        with self._lock:
            transaction_uid = self._sent.get(response.MessageIDBeingRespondedTo)
            if transaction_uid is not None:
                self._answers[transaction_uid] = int(response.Status)


class CommitmentDoor(Protocol):
    """Decides on requests. Called from a thread per association."""

    def admits(self, calling_ae: str) -> bool:
        """Whether a peer may ask for commitment."""

    def request(
        self, association: InboundAssociation, transaction_uid: str, references: Sequence[Reference], channel: Channel
    ) -> int:
        """Take in a request, durably; the status of its response. The report is due whenever it is verified."""


class ReportDoor(Protocol):
    """Takes what peers report of what we have asked them. Called from a thread per association."""

    def admits(self, calling_ae: str) -> bool:
        """Whether a peer is asked by us, and so may report."""

    def report(self, calling_ae: str, answer: Answer) -> int:
        """Keep a report, durably; the status of its response."""


class CommitmentSCP:
    """Registers with the acceptor: serves N-ACTION of the Push Model, and N-EVENT-REPORT of peers we have asked."""

    def __init__(self, door: CommitmentDoor, reports: ReportDoor | None = None) -> None:
        self._door = door
        self._reports = reports

    def contexts(self, calling_ae: str) -> list[PresentationContext]:
        """The Push Model, for peers that may use it; in both roles, since who reports is the SCP (PS3.7 D.3.3.4)."""
        if not self._door.admits(calling_ae) and not self._may_report(calling_ae):
            return []
        context = build_context(PUSH_MODEL)
        context.scu_role = context.scp_role = True
        return [context]

    def attach(self, association: Any) -> None:
        """Answer the N-ACTIONs and N-EVENT-REPORTs of an association."""
        channel = Channel(association)
        association.bind(evt.EVT_N_ACTION, self._on_action, [channel])
        association.bind(evt.EVT_N_EVENT_REPORT, self._on_report)

    def _may_report(self, calling_ae: str) -> bool:
        return self._reports is not None and self._reports.admits(calling_ae)

    def _on_report(self, event: Any) -> tuple[int, None]:
        calling_ae = event.assoc.inbound.calling_ae
        if self._reports is None or not self._reports.admits(calling_ae):
            return NOT_AUTHORIZED, None
        try:
            answer = answer_of(event.event_information)
        except MALFORMED as error:
            LOGGER.warning("a commitment report of %s cannot be read: %s", calling_ae, error)
            return INVALID_ARGUMENT, None
        return self._reports.report(calling_ae, answer), None

    def _on_action(self, event: Any, channel: Channel) -> tuple[int, None]:
        if not self._door.admits(event.assoc.inbound.calling_ae):
            return NOT_AUTHORIZED, None
        if event.request.RequestedSOPInstanceUID != PUSH_MODEL_INSTANCE:
            return NO_SUCH_INSTANCE, None
        if event.action_type != _REQUEST_COMMITMENT:
            return NO_SUCH_ACTION, None
        association: InboundAssociation = event.assoc.inbound
        try:
            transaction_uid, references = _asked(event.action_information)
        except MALFORMED as error:
            LOGGER.warning("a commitment request of %s cannot be read: %s", association.calling_ae, error)
            return INVALID_ARGUMENT, None
        return self._door.request(association, transaction_uid, references, channel), None


def send_report(
    peer: PeerSettings, calling_ae: str, report: Report, *, tls: TlsSettings = NO_FILES, timeout_s: float = 30.0
) -> int:
    """Report over a new association; the status of the peer's response. ``tls`` is for a peer that wants it.

    Raises:
        PeerError: the peer cannot be reached, refuses, or does not answer.
    """
    association = _associate(peer, calling_ae, tls, timeout_s)
    try:
        status, _ = association.send_n_event_report(
            report.dataset(), report.event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
    except (RuntimeError, ValueError) as error:
        raise PeerError(f"{name(peer)}: {error}", reason="lost") from error
    finally:
        if association.is_established:
            association.release()
    if "Status" not in status:
        raise PeerError(f"{name(peer)}: no answer to the report", reason="no-answer", remedy="see the log of the peer")
    return int(status.Status)


def _associate(peer: PeerSettings, calling_ae: str, tls: TlsSettings, timeout_s: float) -> Any:
    ae = AE(calling_ae)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = timeout_s
    secured = (client_context(tls, check_host=not peer.certificate), peer.host) if peer.tls else None
    association = ae.associate(
        peer.host,
        peer.port,
        contexts=[build_context(PUSH_MODEL)],
        ae_title=peer.ae_title,
        ext_neg=[build_role(PUSH_MODEL, scp_role=True)],
        tls_args=secured,
    )
    if association.is_established:
        if secured and peer.certificate and not is_bound(association.dul.socket.socket, peer.certificate):
            association.abort()
            why = "it shows another certificate than the one in its settings"
            raise PeerError(f"{name(peer)}: {why}", reason="tls", remedy="correct certificate of this peer")
        return association
    if association.is_rejected:
        why, reason, remedy = "it rejects our association", "rejected", "make our AE title known to it"
    elif association.rejected_contexts:
        why, reason, remedy = "it takes no reports of Storage Commitment", "context-refused", "see its settings"
    else:
        why, reason, remedy = "it cannot be reached", "unreachable", "check host, port and tls of this peer"
    raise PeerError(f"{name(peer)}: {why}", reason=reason, remedy=remedy)


def _asked(information: Dataset) -> tuple[str, tuple[Reference, ...]]:
    """Transaction UID and objects of a request.

    Raises:
        ValueError: one is missing or no UID.
    """
    transaction_uid = str(information.get("TransactionUID", ""))
    found = {
        Reference(str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
        for item in information.get("ReferencedSOPSequence") or ()
    }
    if not is_valid_uid(transaction_uid):
        raise ValueError("(0008,1195) Transaction UID is absent or no UID")
    if not found:
        raise ValueError("(0008,1199) Referenced SOP Sequence is absent or empty")
    if any(not is_valid_uid(one.sop_class) or not 0 < len(one.sop_uid) <= 64 for one in found):
        raise ValueError("(0008,1199) Referenced SOP Sequence names what is no UID")
    return transaction_uid, tuple(sorted(found, key=lambda one: (one.sop_uid, one.sop_class)))
