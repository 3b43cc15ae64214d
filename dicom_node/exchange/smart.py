"""SMART Backend Services: a client that proves who it is by a signed assertion, and gets a token for a while.

Client credentials grant with ``private_key_jwt`` (RFC 7523, hl7.org/fhir/smart-app-launch/backend-services.html).
The key is read when it is needed, and stands in no log and no message.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Generator
from pathlib import Path

import httpx
import jwt

from dicom_node.ehr_settings import ServerSettings
from dicom_node.errors import PeerError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_S = 240  # its life; servers take five minutes at most
_MARGIN_S = 30.0  # a token is renewed so long before it expires
_LONGEST_S = 3600.0  # a token is kept, whatever the server says


class BackendServices(httpx.Auth):
    """Adds a bearer token to each request; gets a new one before it expires, and once when the server refuses it."""

    requires_response_body = True

    def __init__(self, server: ServerSettings) -> None:
        self._server = server
        self._key = _read_key(server)
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
        fields = {
            "grant_type": "client_credentials",
            "scope": self._server.scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(),
        }
        response = yield httpx.Request(
            "POST", self._server.token_url, data=fields, headers={"Accept": "application/json"}
        )
        response.read()
        token, lifetime_s = self._granted(response)
        with self._lock:
            self._token = token
            self._good_until = time.monotonic() + max(0.0, min(lifetime_s, _LONGEST_S) - _MARGIN_S)
        return token

    def _assertion(self) -> str:
        """A fresh one: each has an id of its own, since servers refuse a second use."""
        now = int(time.time())
        claims = {
            "iss": self._server.client_id,
            "sub": self._server.client_id,
            "aud": self._server.token_url,
            "exp": now + _ASSERTION_S,
            "iat": now,
            "jti": str(uuid.uuid4()),
        }
        headers = {"kid": self._server.key_id} if self._server.key_id else None
        try:
            return jwt.encode(claims, self._key, algorithm=self._server.algorithm, headers=headers)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise PeerError(
                f"{self._server.name}: its key signs nothing by {self._server.algorithm}",
                reason="no-token",
                remedy="set algorithm to that of the key: ES384 or RS384; the key is PEM, without a passphrase",
            ) from error

    def _granted(self, response: httpx.Response) -> tuple[str, float]:
        """Token and its life in seconds (RFC 6749 5.1)."""
        try:
            answer = response.json()
            if response.status_code == 200:
                return str(answer["access_token"]), float(answer.get("expires_in", _LONGEST_S))
            why = str(answer.get("error", ""))[:40]
        except (ValueError, KeyError, TypeError, AttributeError):
            why = ""
        raise PeerError(
            f"{self._server.name}: no token: HTTP {response.status_code} {why}".rstrip(),
            reason="no-token",
            remedy="check token_url, client_id, key, key_id and scope of this server, and the client registered there",
        )


def _read_key(server: ServerSettings) -> str:
    try:
        return Path(server.key or "").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise PeerError(
            f"{server.name}: its key {server.key} cannot be read",
            reason="no-secret",
            remedy="correct key of this server",
        ) from error
