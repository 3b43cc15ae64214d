"""SMART Backend Services: a client that proves who it is by a signed assertion, and gets a token for a while.

Client credentials grant with ``private_key_jwt`` (RFC 7523, hl7.org/fhir/smart-app-launch/backend-services.html).
The key is read when it is needed, and stands in no log and no message.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import httpx
import jwt

from dicom_node.ehr_settings import ServerSettings
from dicom_node.errors import PeerError
from dicom_node.exchange.bearer import Bearer

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_S = 240  # its life; servers take five minutes at most
_LONGEST_S = 3600.0  # a token is kept, whatever the server says


class BackendServices(Bearer):
    """A client that signs an assertion for each token."""

    def __init__(self, server: ServerSettings) -> None:
        super().__init__(_LONGEST_S)
        self._server = server
        self._key = _read_key(server)

    def ask(self) -> httpx.Request:
        """By ``private_key_jwt``."""
        fields = {
            "grant_type": "client_credentials",
            "scope": self._server.scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(),
        }
        return httpx.Request("POST", self._server.token_url, data=fields, headers={"Accept": "application/json"})

    def refusal(self, why: str) -> PeerError:
        """What is told where there was no token."""
        return PeerError(
            f"{self._server.name}: no token: {why}",
            reason="no-token",
            remedy="check token_url, client_id, key, key_id and scope of this server, and the client registered there",
        )

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


def _read_key(server: ServerSettings) -> str:
    try:
        return Path(server.key or "").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise PeerError(
            f"{server.name}: its key {server.key} cannot be read",
            reason="no-secret",
            remedy="correct key of this server",
        ) from error
