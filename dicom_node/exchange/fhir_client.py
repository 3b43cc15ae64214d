"""Searching a FHIR server: page by page, by a deadline, and nothing taken on trust.

A search says which parameters must not be ignored (``Prefer: handling=strict``); where the server says that it searched
by others, its answer is refused. Pages are followed on the server itself alone.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from dicom_node.ehr_settings import ServerSettings
from dicom_node.errors import PeerError
from dicom_node.exchange.smart import BackendServices

FHIR_JSON = "application/fhir+json"
MOST_PAGES = 50
_LARGEST_BYTES = 64_000_000  # of one page
_REMEDIES = {
    "not-authorized": "check what the server lets this client read",
    "wrong-url": "correct url of this server: it ends before /Patient",
    "busy": "the server is busy; it is asked again",
    "peer-failure": "see the log of the server",
    "no-answer": "the server is off, overloaded or hangs, or a firewall drops the connection",
    "not-fhir": "url must name the base of a FHIR server",
    "ignored-parameters": "the server does not search by what we need; nothing of its answer is used",
    "deadline": "raise deadline_seconds of this server, or see why it is slow",
}


class FhirClient:
    """One server. For one thread; to be closed."""

    def __init__(self, server: ServerSettings) -> None:
        """Open nothing yet.

        Raises:
            PeerError: a certificate or the key cannot be read.
        """
        self._server = server
        self._base = server.url.rstrip("/") + "/"
        try:
            context = ssl.create_default_context(cafile=None if server.ca is None else str(server.ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        except (OSError, ValueError) as error:
            raise PeerError(
                f"{server.name}: no TLS: {error}", reason="tls", remedy="correct ca of this server"
            ) from error
        self._client = httpx.Client(
            auth=BackendServices(server) if server.auth == "smart" else None,
            verify=context,
            timeout=server.deadline_seconds,
            headers={"Accept": FHIR_JSON, "Prefer": "handling=strict", "User-Agent": "dicom-node"},
        )

    def __enter__(self) -> FhirClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def search(self, kind: str, parameters: Mapping[str, str], until: float) -> Iterator[bytes]:
        """Pages of a search, each a Bundle as it came; ``until`` is the monotonic time by which all must be here.

        Raises:
            PeerError: the server does not answer, refuses, ignores a parameter, or gives no Bundle; after some pages
                too: what came before is not the whole answer.
        """
        url = str(httpx.URL(urljoin(self._base, kind), params=dict(parameters)))
        for number in range(MOST_PAGES):
            data, bundle = self._page(url, until)
            links = {
                link.get("relation"): link.get("url") for link in bundle.get("link") or () if isinstance(link, dict)
            }
            if number == 0:
                self._check_self(links.get("self"), parameters)
            yield data
            onward = links.get("next")
            if not onward:
                return
            url = self._own(urljoin(url, str(onward)))
        raise self._error(f"more than {MOST_PAGES} pages of {kind}", "peer-failure")

    def _page(self, url: str, until: float) -> tuple[bytes, dict[str, Any]]:
        while True:
            data, status, headers = self._get(url, until)
            if status not in (429, 503):
                break
            pause_s = _seconds(headers.get("Retry-After", ""))
            if time.monotonic() + pause_s >= until:
                raise self._error(f"HTTP {status}, to be asked again in {pause_s:g} s", "busy")
            time.sleep(pause_s)
        if status != 200:
            raise self._error(f"HTTP {status}{_outcome(data)}", _reason(status))
        try:
            bundle = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._error("its answer is no JSON, or was cut off", "not-fhir") from error
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            raise self._error("its answer is no Bundle", "not-fhir")
        return data, bundle

    def _get(self, url: str, until: float) -> tuple[bytes, int, httpx.Headers]:
        """The answer, read until the deadline and no further."""
        left = until - time.monotonic()
        if left <= 0:
            raise self._error("it did not answer in time", "deadline")
        try:
            with self._client.stream("GET", url, timeout=left) as response:
                found = bytearray()
                for part in response.iter_bytes():
                    found += part
                    if len(found) > _LARGEST_BYTES:
                        raise self._error(f"a page of more than {_LARGEST_BYTES // 1_000_000} MB", "peer-failure")
                    if time.monotonic() > until:
                        raise self._error("it did not answer in time", "deadline")
                return bytes(found), response.status_code, response.headers
        except httpx.TimeoutException as error:
            raise self._error("it did not answer in time", "deadline") from error
        except httpx.HTTPError as error:
            raise self._error(f"the connection failed: {type(error).__name__}", "no-answer") from error

    def _check_self(self, said: Any, parameters: Mapping[str, str]) -> None:
        """What the server says it searched by must hold everything that narrows the search."""
        if not isinstance(said, str):
            return
        used = parse_qs(urlsplit(said).query)
        for name in parameters:
            if not name.startswith("_") and name not in used:
                raise self._error(f"it ignored the parameter {name}", "ignored-parameters")

    def _own(self, url: str) -> str:
        ours, theirs = urlsplit(self._base), urlsplit(url)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise self._error(f"its next page is on another server, {theirs.netloc}", "peer-failure")
        return url

    def _error(self, what: str, reason: str) -> PeerError:
        return PeerError(f"{self._server.name}: {what}", reason=reason, remedy=_REMEDIES[reason])


def _reason(status: int) -> str:
    if status in (401, 403):
        return "not-authorized"
    if status in (404, 405, 410):
        return "wrong-url"
    return "busy" if status in (429, 503) else "peer-failure"


def _outcome(data: bytes) -> str:
    """What an OperationOutcome says, by its codes: its texts may name patients."""
    try:
        issues = json.loads(data).get("issue") or ()
        codes = [str(issue.get("code", ""))[:40] for issue in issues if isinstance(issue, dict)]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ""
    return f" ({', '.join(filter(None, codes))})" if any(codes) else ""


def _seconds(text: str) -> float:
    """Retry-After in seconds; one second where it says nothing usable."""
    return min(max(0.1, float(text)), 3600.0) if text.strip().isdigit() else 1.0
