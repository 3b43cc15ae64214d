"""Who we are to a web server: nobody, a user with a password, or a client with a token (OAuth 2.0, RFC 6749 4.4).

Secrets are read when they are needed, from the environment or a file, and stand in no log and no message.
"""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from dicom_node.errors import PeerError
from dicom_node.exchange.bearer import Bearer
from dicom_node.settings import PeerSettings

_LONGEST_S = 86400.0  # a token is kept, whatever the server says


def authorization(peer: PeerSettings) -> httpx.Auth | None:
    """What the entry of a peer asks for.

    Raises:
        PeerError: the secret cannot be read.
    """
    if peer.auth == "none":
        return None
    secret = read_secret(peer)
    return httpx.BasicAuth(peer.user, secret) if peer.auth == "basic" else ClientCredentials(peer, secret)


def read_secret(peer: PeerSettings) -> str:
    """The password, or client secret, of a peer's entry.

    Raises:
        PeerError: it is not where the entry says.
    """
    kind, _, place = peer.secret.partition(":")
    if kind == "env":
        found = os.environ.get(place, "")
        where = f"the variable {place}"
    else:
        where = f"the file {place}"
        try:
            found = Path(place).read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise _no_secret(peer, f"{where} cannot be read: {why}") from error
    if not found:
        raise _no_secret(peer, f"{where} is empty or not set")
    return found


class ClientCredentials(Bearer):
    """A client that shows its secret."""

    def __init__(self, peer: PeerSettings, secret: str) -> None:
        super().__init__(_LONGEST_S)
        self._peer = peer
        self._secret = secret

    def ask(self) -> httpx.Request:
        """By HTTP Basic, which every authorization server supports (RFC 6749 2.3.1)."""
        fields = {"grant_type": "client_credentials"} | ({"scope": self._peer.scope} if self._peer.scope else {})
        request = httpx.Request("POST", self._peer.token_url, data=fields, headers={"Accept": "application/json"})
        next(httpx.BasicAuth(self._peer.user, self._secret).auth_flow(request))
        return request

    def refusal(self, why: str) -> PeerError:
        """What is told where there was no token."""
        return PeerError(
            f"{self._peer.name}: no token from {self._peer.token_url}: {why}",
            reason="no-token",
            remedy="check token_url, user, secret and scope of this peer, and the client at the authorization server",
        )


def _no_secret(peer: PeerSettings, why: str) -> PeerError:
    return PeerError(
        f"{peer.name}: its secret is not there: {why}", reason="no-secret", remedy="correct secret of this peer"
    )
