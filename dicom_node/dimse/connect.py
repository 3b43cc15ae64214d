"""Opens connections to peers, over TLS or not, and says in plain words why one cannot be opened."""

from __future__ import annotations

import contextlib
import socket
import ssl

from dicom_node.dimse import transport
from dicom_node.dimse.tls import client_context, is_bound
from dicom_node.errors import ConfigurationError, PeerError
from dicom_node.settings import PeerSettings, TlsSettings


def name(peer: PeerSettings) -> str:
    """A peer as messages name it."""
    return f"{peer.ae_title} at {peer.host}:{peer.port}"


def connect(peer: PeerSettings, tls: TlsSettings, timeout_s: float) -> socket.socket:
    """A connection to a peer, over TLS where its entry says so; ``timeout_s`` bounds each step, and later each wait.

    Raises:
        PeerError: it cannot be opened; the message names the peer and the likely cause.
    """
    connection = _open(peer, timeout_s)
    transport.tune(connection)
    if not peer.tls:
        return connection
    try:
        return _secured(connection, peer, tls)
    except PeerError:
        connection.close()
        raise


def _open(peer: PeerSettings, timeout_s: float) -> socket.socket:
    try:
        return socket.create_connection((peer.host, peer.port), timeout=timeout_s)
    except socket.gaierror as error:
        raise PeerError(
            f"{name(peer)}: the host name is unknown", reason="unknown-host", remedy="check host of this peer, and DNS"
        ) from error
    except ConnectionRefusedError as error:
        raise PeerError(
            f"{name(peer)}: connection refused",
            reason="refused",
            remedy="nothing listens there: start the peer, or correct host and port",
        ) from error
    except TimeoutError as error:
        raise PeerError(
            f"{name(peer)}: no answer to the connection in {timeout_s:g} s",
            reason="no-answer",
            remedy="the machine is off, or a firewall drops the connection",
        ) from error
    except OSError as error:
        raise PeerError(
            f"{name(peer)}: unreachable ({error.strerror or error})",
            reason="unreachable",
            remedy="check host and port of this peer, and the network",
        ) from error


def _secured(connection: socket.socket, peer: PeerSettings, tls: TlsSettings) -> ssl.SSLSocket:
    try:
        context = client_context(tls, check_host=not peer.certificate)
    except ConfigurationError as error:
        raise PeerError(f"{name(peer)}: no TLS: {error.message}", reason="tls", remedy=error.remedy) from error
    try:
        secured = context.wrap_socket(connection, server_hostname=peer.host)
    except ssl.SSLCertVerificationError as error:
        raise PeerError(
            f"{name(peer)}: its certificate is no good: {error.verify_message}",
            reason="tls-certificate",
            remedy="set tls.ca to the authority that signed it, and host of this peer to a name in it, or certificate "
            "of this peer to what it shows",
        ) from error
    except OSError as error:
        raise tls_failed(peer, error) from error
    if peer.certificate and not is_bound(secured, peer.certificate):
        with contextlib.suppress(OSError):
            secured.close()
        raise PeerError(
            f"{name(peer)}: it shows another certificate than {peer.certificate!r}",
            reason="tls-certificate",
            remedy="correct certificate of this peer, if it really is the peer that answers",
        )
    return secured


def tls_failed(peer: PeerSettings, error: OSError) -> PeerError:
    """What to say when TLS breaks; a server that wants another certificate tells so only after the handshake."""
    why = getattr(error, "reason", None) or error.strerror or str(error)
    return PeerError(
        f"{name(peer)}: TLS fails: {why}",
        reason="tls",
        remedy="the peer must speak TLS 1.2 or 1.3 on this port, and trust the certificate of [tls]; see its log",
    )
