"""Opens associations to peers, and says in plain words why one cannot be opened.

Negotiation is encoded and decoded by pynetdicom; the messages go over a blocking socket of our own, so that a file
is sent as it lies on the disk, in constant memory and without a pause per message.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO

from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext, build_context

from dicom_node.dimse import command, transport
from dicom_node.dimse.command import Command, CommandError
from dicom_node.dimse.connect import connect, name, tls_failed
from dicom_node.dimse.contexts import VERIFICATION
from dicom_node.dimse.framing import MALFORMED, Fragment, Framer, FramingError, OtherPDU
from dicom_node.domain.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, TlsSettings

MAXIMUM_CONTEXTS = 128  # of one association (PS3.8 9.3.2.2: odd identifiers up to 255)
NO_FILES = TlsSettings()  # TLS without a certificate of ours, trusting what the system trusts
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_MAXIMUM_PDU = 131072  # bytes, that we take and that we send at most
_RELEASE_RQ = bytes.fromhex("05000000000400000000")
_ABORT = bytes.fromhex("07000000000400000000")
_LEAST_BYTES = {2: 68, 3: 4}  # behind the header of an A-ASSOCIATE-AC and -RJ (PS3.8 9.3.3, 9.3.4)
_RELEASE_S = 5.0  # longest wait for the peer's agreement to the end
_LARGEST_RESPONSE = 1 << 24  # bytes of one response


@dataclass(frozen=True, slots=True)
class Proposal:
    """A presentation context to propose."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreed:
    """A presentation context the peer has accepted."""

    id: int
    transfer_syntax: str


class Association:
    """An association with a peer, for one thread. Use as a context manager: it is released, or aborted on an error."""

    def __init__(
        self,
        peer: PeerSettings,
        calling_ae: str,
        proposals: Sequence[Proposal],
        *,
        timeout_s: float = 30.0,
        tls: TlsSettings = NO_FILES,
    ) -> None:
        """Connect and negotiate.

        ``timeout_s`` bounds the connection, and later each wait for the peer; ``tls`` is for a peer that wants it.

        Raises:
            PeerError: it cannot be opened; the message names the peer and the likely cause.
        """
        self._peer = peer
        self._framer = Framer(_MAXIMUM_PDU)
        self._pieces: Iterator[Fragment | OtherPDU] = iter(())
        self._message_id = 0
        self._agreed: dict[Proposal, Agreed] = {}
        self._refused: dict[Proposal, str] = {}
        self._fragment = _MAXIMUM_PDU - 6  # bytes of data that one PDU to the peer may hold
        self._socket = connect(peer, tls, timeout_s)
        try:
            self._negotiate(calling_ae, proposals)
        except PeerError:
            self._socket.close()
            raise
        except OSError as error:
            self._socket.close()
            raise self._lost(error) from error

    def __enter__(self) -> Association:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    def agreed(self, proposal: Proposal) -> Agreed | None:
        """What the peer accepted of a proposal, or None."""
        return self._agreed.get(proposal)

    def refused(self, proposal: Proposal) -> str:
        """Why the peer did not accept a proposal, in the standard's words."""
        return self._refused.get(proposal, "it was not answered")

    def request(self, context: int, field: int, sop_class: str, data: bytes | None = None) -> None:
        """Send a request with the data set ``data``, if any.

        Raises:
            PeerError: the association is lost.
        """
        encoded = command.request(field, sop_class, self.next_message_id(), has_data_set=data is not None)
        self.send(context, encoded, data or b"")

    def next_message_id(self) -> int:
        """That of the request to be sent next."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def send(self, context: int, command_set: bytes, data: bytes = b"") -> None:
        """Send a message.

        Raises:
            PeerError: the association is lost.
        """
        try:
            self._socket.sendall(command.pdu(context, command.COMMAND_AND_LAST, command_set))
            for start in range(0, len(data), self._fragment):
                part = data[start : start + self._fragment]
                last = start + len(part) == len(data)
                self._socket.sendall(command.pdu(context, 2 if last else 0, part))
        except OSError as error:
            raise self._lost(error) from error

    def store(
        self,
        context: int,
        sop_class: str,
        sop_instance: str,
        file: BinaryIO,
        paid: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Send a C-STORE request; the data set is what ``file`` holds from its position on, sent as it is.

        ``paid`` is called with the size of each piece before it goes, and may wait.

        Raises:
            PeerError: the association is lost.
        """
        encoded = command.request(
            command.C_STORE_RQ, sop_class, self.next_message_id(), sop_instance=sop_instance, has_data_set=True
        )
        left = os.fstat(file.fileno()).st_size - file.tell()
        head = command.pdu(context, command.COMMAND_AND_LAST, encoded)
        try:
            while left:
                part = file.read(min(self._fragment, left))
                if not part:
                    raise OSError("the file became shorter while it was sent")
                left -= len(part)
                paid(len(part))
                self._socket.sendall(head + command.pdu(context, 0 if left else 2, part))
                head = b""
        except TimeoutError as error:
            raise self._error("it stopped taking data in the middle of an object", "stalled", "see its log") from error
        except OSError as error:
            raise self._lost(error) from error

    def response(self) -> tuple[Command, bytes]:
        """The next response to the last request: its command, and its data set if it has one.

        Raises:
            PeerError: none comes in time, or the association is lost.
        """
        answer, data = self.receive()
        if answer.number(0x0120) != self._message_id:
            raise self._error("it answered another message than the last one", "not-dicom")
        return answer, data

    def receive(self) -> tuple[Command, bytes]:
        """The next message, whatever it is: its command, and its data set if it has one.

        Raises:
            PeerError: none comes in time, or the association is lost.
        """
        try:
            message = Command.parse(self._collect(is_command=True))
            return message, self._collect(is_command=False) if message.has_data_set else b""
        except (CommandError, FramingError) as error:
            raise self._error(f"it sent what is not DICOM: {error}", "not-dicom") from error
        except OSError as error:
            raise self._lost(error) from error

    def has_more(self, within_s: float) -> bool:
        """Whether the peer has sent something more, at the latest after so many seconds; also that it has ended."""
        piece = next(self._pieces, None)
        if piece is not None:
            self._pieces = itertools.chain((piece,), self._pieces)
            return True
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        return bool(select.select((self._socket,), (), (), within_s)[0])

    def release(self) -> None:
        """End the association in good order; whether the peer still agrees does not matter any more."""
        with contextlib.suppress(OSError, FramingError):
            self._socket.settimeout(_RELEASE_S)
            self._socket.sendall(_RELEASE_RQ)
            self._next_piece()
        self._socket.close()

    def abort(self) -> None:
        """End the association at once."""
        with contextlib.suppress(OSError):
            self._socket.sendall(_ABORT)
        self._socket.close()

    def _negotiate(self, calling_ae: str, proposals: Sequence[Proposal]) -> None:
        contexts = [_context(2 * index + 1, proposal) for index, proposal in enumerate(proposals)]
        self._socket.sendall(A_ASSOCIATE_RQ(_request(calling_ae, self._peer.ae_title, contexts)).encode())
        accept = self._read_answer()
        results = {int(cx.context_id): cx for cx in accept.presentation_context_definition_results_list}
        for index, proposal in enumerate(proposals):
            result = results.get(2 * index + 1)
            if result is not None and result.result == 0 and result.transfer_syntax:
                self._agreed[proposal] = Agreed(2 * index + 1, str(result.transfer_syntax[0]))
            elif result is not None:
                self._refused[proposal] = _CONTEXT_RESULTS.get(result.result, f"result {result.result}")
        largest = int(accept.maximum_length_received or 0) or _MAXIMUM_PDU
        self._fragment = max(128, min(largest, _MAXIMUM_PDU) - 6)

    def _read_answer(self) -> Any:
        """The A-ASSOCIATE-AC as a primitive."""
        header = self._read_exactly(6)
        kind, _, length = struct.unpack(">BBL", header)
        if kind not in (2, 3, 7) or length > _MAXIMUM_PDU:
            raise self._error("what listens there does not speak DICOM", "not-dicom", "check host and port of the peer")
        encoded = header + self._read_exactly(length)
        if kind == 7:
            raise self._aborted(encoded)
        answer = A_ASSOCIATE_AC() if kind == 2 else A_ASSOCIATE_RJ()
        try:
            if length < _LEAST_BYTES[kind]:
                raise ValueError("it is cut off")
            answer.decode(encoded)
            primitive = answer.to_primitive()
        except MALFORMED as error:
            raise self._error("its answer cannot be read", "not-dicom", "see the log of the peer") from error
        if kind == 3:
            raise self._rejected(primitive)
        return primitive

    def _read_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            transport.acknowledge(self._socket)
            if not part:
                raise ConnectionError("the peer closed the connection")
            data += part
        return data

    def _collect(self, *, is_command: bool) -> bytes:
        """The fragments of a command set or a data set, joined."""
        data = bytearray()
        while True:
            piece = self._next_piece()
            if isinstance(piece, OtherPDU):
                raise self._aborted(piece.encoded)
            if piece.command != is_command:
                raise FramingError("a command set where a data set should be, or the other way round")
            data += piece.view
            if len(data) > _LARGEST_RESPONSE:
                raise FramingError(f"a response of more than {_LARGEST_RESPONSE} bytes")
            if piece.last:
                return bytes(data)

    def _next_piece(self) -> Fragment | OtherPDU:
        while True:
            piece = next(self._pieces, None)
            if piece is not None:
                return piece
            received = self._socket.recv_into(self._framer.room())
            if not received:
                raise ConnectionError("the peer closed the connection")
            transport.acknowledge(self._socket)
            self._pieces = self._framer.pieces(received)

    def _error(self, what: str, reason: str, remedy: str = "") -> PeerError:
        return PeerError(f"{name(self._peer)}: {what}", reason=reason, remedy=remedy)

    def _lost(self, error: OSError) -> PeerError:
        if isinstance(error, TimeoutError):
            return self._error("no answer in time", "no-answer", "check the peer; it may be overloaded or hang")
        if isinstance(error, ssl.SSLError):
            return tls_failed(self._peer, error)
        return self._error(f"the association is lost: {error}", "lost", "see the log of the peer")

    def _aborted(self, encoded: bytes) -> PeerError:
        if encoded[:1] != b"\x07":
            return self._error("it ended the association while we were sending", "aborted", "see its log")
        abort = A_ABORT_RQ()
        abort.decode(encoded)
        return self._error(f"it aborted the association ({abort.source_str})", "aborted", "see the log of the peer")

    def _rejected(self, primitive: Any) -> PeerError:
        why = f"{primitive.result_str}, {primitive.source_str}: {primitive.reason_str}".lower()
        remedies = {
            (1, 3): "add our AE title, host and port to the peer's known nodes",
            (1, 7): "the peer has another AE title; correct ae_title of this peer",
            (3, 2): "the peer has no association free; it is tried again",
        }
        remedy = remedies.get((primitive.result_source, primitive.diagnostic), "see the log of the peer")
        return self._error(f"association rejected ({why})", "rejected", remedy)


def echo(peer: PeerSettings, calling_ae: str, timeout_s: float = 10.0, *, tls: TlsSettings = NO_FILES) -> float:
    """Verify a peer with C-ECHO; seconds from opening the association to the answer.

    Raises:
        PeerError: it does not answer; the message names the peer and the likely cause.
    """
    started = time.perf_counter()
    proposal = Proposal(VERIFICATION, ("1.2.840.10008.1.2",))
    with Association(peer, calling_ae, [proposal], timeout_s=timeout_s, tls=tls) as association:
        agreed = association.agreed(proposal)
        if agreed is None:
            why = association.refused(proposal)
            raise PeerError(f"{name(peer)}: C-ECHO is not accepted ({why})", reason="context-refused")
        association.request(agreed.id, command.C_ECHO_RQ, VERIFICATION)
        answer, _ = association.response()
        if answer.number(0x0900) != 0:
            status = answer.number(0x0900) or 0
            raise PeerError(f"{name(peer)}: C-ECHO answered 0x{status:04X}", reason="status")
    return time.perf_counter() - started


_CONTEXT_RESULTS = {
    1: "user rejection",
    2: "no reason given",
    3: "SOP class not supported",
    4: "transfer syntax not supported",
}


def _context(number: int, proposal: Proposal) -> PresentationContext:
    context = build_context(proposal.abstract_syntax, list(proposal.transfer_syntaxes))
    context.context_id = number
    return context


def _request(calling_ae: str, called_ae: str, contexts: list[PresentationContext]) -> A_ASSOCIATE:
    length = MaximumLengthNotification()
    length.maximum_length_received = _MAXIMUM_PDU
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    request = A_ASSOCIATE()
    request.application_context_name = _APPLICATION_CONTEXT
    request.calling_ae_title = calling_ae
    request.called_ae_title = called_ae
    request.presentation_context_definition_list = contexts
    request.user_information = [length, implementation, version]
    return request
