"""Who we are to a web server: nobody, a user with a password, or a client with a token (OAuth 2.0, RFC 6749 4.4).

Secrets are read when they are needed, from the environment or a file, and stand in no log and no message.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Generator
from pathlib import Path

import httpx

from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings

_MARGIN_S = 30.0  # a token is renewed so long before it expires
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


class ClientCredentials(httpx.Auth):
    """Adds a bearer token to each request; gets a new one before it expires, and when the server takes it no more."""

    def __init__(self, peer: PeerSettings, secret: str) -> None:
        self._peer = peer
        self._secret = secret
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = 0.0  # monotonic time

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the token; answered with 401, try once more with a new one."""
        token = yield from self._current()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code != 401:
            return
        response.read()
        with self._lock:
            if self._token == token:
                self._good_until = 0.0
        token = yield from self._current()
        request.headers["Authorization"] = f"Bearer {token}"
        yield request

    def _current(self) -> Generator[httpx.Request, httpx.Response, str]:
        with self._lock:
            if time.monotonic() < self._good_until:
                return self._token
        fields = {"grant_type": "client_credentials"} | ({"scope": self._peer.scope} if self._peer.scope else {})
        ask = httpx.Request("POST", self._peer.token_url, data=fields, headers={"Accept": "application/json"})
        # RFC 6749 2.3.1: HTTP Basic is what every authorization server supports.
        next(httpx.BasicAuth(self._peer.user, self._secret).auth_flow(ask))
        response = yield ask
        response.read()
        token, lifetime_s = self._granted(response)
        with self._lock:
            self._token = token
            self._good_until = time.monotonic() + max(0.0, min(lifetime_s, _LONGEST_S) - _MARGIN_S)
        return token

    def _granted(self, response: httpx.Response) -> tuple[str, float]:
        """Token and its life in seconds (RFC 6749 5.1)."""
        try:
            answer = response.json()
            if response.status_code == 200:
                return str(answer["access_token"]), float(answer.get("expires_in", _LONGEST_S))
            why = str(answer.get("error", ""))[:40]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError):
            why = ""
        raise PeerError(
            f"{self._peer.name}: no token from {self._peer.token_url}: HTTP {response.status_code} {why}".rstrip(),
            reason="no-token",
            remedy="check token_url, user, secret and scope of this peer, and the client at the authorization server",
        )


def _no_secret(peer: PeerSettings, why: str) -> PeerError:
    return PeerError(
        f"{peer.name}: its secret is not there: {why}", reason="no-secret", remedy="correct secret of this peer"
    )
