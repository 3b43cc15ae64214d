"""HTTP to a DICOMweb server, and plain words for what goes wrong with it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from dicom_node.errors import PeerError
from dicom_node.exchange.authorization import authorization
from dicom_node.settings import PeerSettings, TlsSettings

DICOM_JSON = "application/dicom+json"
_LONGEST_RETRY_AFTER_S = 86400.0
_REMEDIES = {
    "not-authorized": "check auth, user and secret of this peer, and what the server lets us do",
    "wrong-url": "correct url of this peer: it ends before /studies",
    "redirected": "set url of this peer to where the server redirects to, if that is right",
    "out-of-resources": "the server is busy or full; it is tried again by itself",
    "peer-failure": "see the log of the server; it is tried again by itself",
    "no-answer": "the server is off, overloaded or hangs, or a firewall drops the connection",
    "refused": "start the server, or correct url of this peer",
    "tls-certificate": "set ca of this peer to the authority that signed it, and url to a name in it",
    "stalled": "see the log of the server",
    "lost": "see the log of the server",
    "object-refused": "see the log of the server for what it does not like, then: dicom-node parcels retry",
}


def open_client(peer: PeerSettings, tls: TlsSettings, timeout_s: float) -> httpx.Client:
    """A client for one server, for any number of threads; ``timeout_s`` bounds each step. To be closed.

    Raises:
        PeerError: a certificate or the secret cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=None if peer.ca is None else str(peer.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate is not None and tls.key is not None and peer.url.startswith("https:"):
            context.load_cert_chain(tls.certificate, tls.key)  # shown to a server that asks for it
    except (OSError, ValueError) as error:
        raise PeerError(
            f"{peer.name}: no TLS: {error}", reason="tls", remedy="correct ca of this peer, tls.certificate and tls.key"
        ) from error
    return httpx.Client(
        auth=authorization(peer),
        verify=context,
        timeout=timeout_s,
        limits=httpx.Limits(max_connections=peer.connections + 1),
        headers={"User-Agent": "dicom-node"},
    )


@contextmanager
def answered(peer: PeerSettings) -> Iterator[None]:
    """Tells what goes wrong between us and the server as a PeerError."""
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise _trouble(peer, error, "no answer to the connection", "no-answer") from error
    except httpx.ConnectError as error:
        certificate = "certificate" in str(error).lower()
        raise _trouble(peer, error, str(error), "tls-certificate" if certificate else "refused") from error
    except httpx.WriteTimeout as error:
        raise _trouble(peer, error, "it stopped taking data in the middle of a request", "stalled") from error
    except httpx.TimeoutException as error:
        raise _trouble(peer, error, "no answer in time", "no-answer") from error
    except httpx.HTTPError as error:
        raise _trouble(peer, error, f"the connection is lost: {str(error) or type(error).__name__}", "lost") from error


def fault(peer: PeerSettings, response: httpx.Response) -> PeerError:
    """What the status of a response says of the request as a whole."""
    status = response.status_code
    reason = "peer-failure"
    if status in (401, 403, 407):
        reason = "not-authorized"
    elif status in (404, 405, 410, 501):
        reason = "wrong-url"
    elif 300 <= status < 400:
        reason = "redirected"
    elif status in (408, 429, 503, 507):
        reason = "out-of-resources"
    elif 400 <= status < 500:
        reason = "object-refused"
    return PeerError(
        f"{peer.name}: HTTP {status} {response.reason_phrase} from {peer.url}".rstrip(),
        reason=reason,
        remedy=_REMEDIES[reason],
        retry_after_s=_retry_after_s(response.headers.get("Retry-After", "")),
    )


def json_of(response: httpx.Response) -> Any:
    """The JSON of a response; None where it is none."""
    try:
        return response.json()
    except ValueError:  # also what is not UTF-8
        return None


def _retry_after_s(text: str) -> float:
    """RFC 9110 10.2.3: seconds, or a date."""
    try:
        seconds = (
            float(text) if text.strip().isdigit() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        )
    except (ValueError, TypeError):
        return 0.0
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER_S)


def _trouble(peer: PeerSettings, error: httpx.HTTPError, what: str, reason: str) -> PeerError:
    asked = str(error.request.url) if isinstance(error, httpx.RequestError) else peer.url
    place = peer.token_url if peer.token_url and asked.startswith(peer.token_url) else peer.url
    return PeerError(f"{peer.name} at {place}: {what}", reason=reason, remedy=_REMEDIES[reason])
