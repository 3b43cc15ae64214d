"""A token that each request carries, kept until shortly before it expires (OAuth 2.0, RFC 6749, RFC 6750)."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Generator

import httpx

from dicom_node.errors import PeerError

_MARGIN_S = 30.0  # a token is renewed so long before it expires


class Bearer(httpx.Auth):
    """Adds a bearer token to each request; gets a new one before it expires, and once when the server refuses it."""

    requires_response_body = True

    def __init__(self, longest_s: float) -> None:
        """``longest_s``: how long a token is kept at most, whatever the server says."""
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = 0.0  # monotonic time

    @abstractmethod
    def ask(self) -> httpx.Request:
        """The request for a token, with what proves who we are."""

    @abstractmethod
    def refusal(self, why: str) -> PeerError:
        """What is told where there was no token."""

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
        response = yield self.ask()
        response.read()
        token, lifetime_s = self._granted(response)
        with self._lock:
            self._token = token
            self._good_until = time.monotonic() + max(0.0, min(lifetime_s, self._longest_s) - _MARGIN_S)
        return token

    def _granted(self, response: httpx.Response) -> tuple[str, float]:
        """Token and its life in seconds (RFC 6749 5.1)."""
        try:
            answer = response.json()
            if response.status_code == 200:
                return str(answer["access_token"]), float(answer.get("expires_in", self._longest_s))
            why = str(answer.get("error", ""))[:40]
        except (ValueError, KeyError, TypeError, AttributeError):
            why = ""
        raise self.refusal(f"HTTP {response.status_code} {why}".rstrip())
