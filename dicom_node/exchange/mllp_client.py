"""Sending HL7 version 2 over MLLP: one message, one acknowledgement (enhanced or original mode alike)."""

from __future__ import annotations

import socket
import ssl

from dicom_node.errors import InputError, PeerError
from dicom_node.exchange import hl7v2
from dicom_node.exchange.mllp import END, START, frame
from dicom_node.settings import PeerSettings, TlsSettings

_BLOCK = 65536
_LONGEST_ANSWER = 1_000_000  # bytes


def exchange(
    peer: PeerSettings, tls: TlsSettings, message: bytes, control_id: str, timeout_s: float
) -> tuple[str, str]:
    """Send a message; the code of its acknowledgement (MSA-1) and what it says.

    Raises:
        PeerError: there is no connection, or no acknowledgement of this message.
    """
    try:
        plain = socket.create_connection((peer.host, peer.port), timeout=timeout_s)
        with plain, _secured(plain, peer, tls) as connection:
            connection.sendall(frame(message))
            answer = _answer(connection, peer)
    except ssl.SSLError as error:
        raise _trouble(peer, f"no TLS: {error}", "tls-certificate", "set ca of this peer to who signed it") from error
    except TimeoutError as error:
        raise _trouble(peer, "no answer in time", "no-answer", "it is off, overloaded, or hangs") from error
    except OSError as error:
        raise _trouble(peer, str(error), "refused", "start it, or correct host and port of this peer") from error
    try:
        told = hl7v2.parse(answer)
    except InputError as error:
        raise _trouble(peer, f"its answer is no message: {error.message}", "peer-failure", "see its log") from error
    acknowledged = told.first("MSA")
    if acknowledged.field(2) != control_id:
        raise _trouble(peer, "it acknowledges another message", "peer-failure", "see its log")
    words = acknowledged.field(3) or told.first("ERR").field(8)
    return acknowledged.field(1), words


def connect(peer: PeerSettings, timeout_s: float) -> None:
    """See whether it can be reached; nothing is sent.

    Raises:
        PeerError: it cannot.
    """
    try:
        socket.create_connection((peer.host, peer.port), timeout=timeout_s).close()
    except OSError as error:
        raise _trouble(peer, str(error), "refused", "start it, or correct host and port of this peer") from error


def _secured(plain: socket.socket, peer: PeerSettings, tls: TlsSettings) -> socket.socket:
    if not peer.tls:
        return plain
    context = ssl.create_default_context(cafile=None if peer.ca is None else str(peer.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None and tls.key is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context.wrap_socket(plain, server_hostname=peer.host)


def _answer(connection: socket.socket, peer: PeerSettings) -> bytes:
    buffer = bytearray()
    while END not in buffer:
        block = connection.recv(_BLOCK)
        if not block or len(buffer) > _LONGEST_ANSWER:
            raise _trouble(peer, "the connection ended before the acknowledgement", "lost", "see its log")
        buffer += block
    return bytes(buffer[buffer.find(START) + 1 : buffer.find(END)])


def _trouble(peer: PeerSettings, what: str, reason: str, remedy: str) -> PeerError:
    return PeerError(f"{peer.name} at {peer.host}:{peer.port}: {what}", reason=reason, remedy=remedy)
