"""Searching a FHIR server: page by page, by a deadline, and nothing taken on trust.

A search says which parameters must not be ignored (``Prefer: handling=strict``); where the server says that it searched
by others, its answer is refused. Pages are followed on the server itself alone.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from dicom_node.ehr_settings import ServerSettings
from dicom_node.errors import PeerError
from dicom_node.exchange.smart import BackendServices

FHIR_JSON = "application/fhir+json"
MOST_PAGES = 50
_LARGEST_BYTES = 64_000_000  # of one page
REMEDIES = {
    "not-authorized": "check what the server lets this client read",
    "wrong-url": "correct url of this server: it ends before /Patient",
    "busy": "the server is busy; it is asked again",
    "peer-failure": "see the log of the server",
    "no-answer": "the server is off, overloaded or hangs, or a firewall drops the connection",
    "not-fhir": "url must name the base of a FHIR server",
    "incomplete": "raise page of this server, up to what it gives at once",
    "ignored-parameters": "the server does not search by what we need; nothing of its answer is used",
    "deadline": "raise deadline_seconds of this server, or see why it is slow",
}


def connect(server: ServerSettings) -> httpx.Client:
    """A client of one server, with what it is trusted by and who we are.

    Raises:
        PeerError: a certificate or the key cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=None if server.ca is None else str(server.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    except (OSError, ValueError) as error:
        raise PeerError(f"{server.name}: no TLS: {error}", reason="tls", remedy="correct ca of this server") from error
    return httpx.Client(
        auth=BackendServices(server) if server.auth == "smart" else None,
        verify=context,
        timeout=server.deadline_seconds,
        headers={"Accept": FHIR_JSON, "Prefer": "handling=strict", "User-Agent": "dicom-node"},
    )


class FhirClient:
    """One server. For one thread; to be closed."""

    def __init__(self, server: ServerSettings) -> None:
        """Open nothing yet.

        Raises:
            PeerError: a certificate or the key cannot be read.
        """
        self._server = server
        self._base = server.url.rstrip("/") + "/"
        self._client = connect(server)
        self.told_at: datetime | None = None  # the server's clock when it answered the first search

    def __enter__(self) -> FhirClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def search(self, kind: str, parameters: Mapping[str, str], until: float) -> Iterator[bytes]:
        """Pages of a search, each a Bundle as it came; ``until`` is the monotonic time by which all must be here.

        Raises:
            PeerError: the server does not answer, refuses, ignores a parameter, gives no Bundle, or less than it says
                it found; after some pages too: what came before is not the whole answer.
        """
        url, came = str(httpx.URL(urljoin(self._base, kind), params=dict(parameters))), 0
        for number in range(MOST_PAGES):
            data, bundle = self._page(url, until)
            links = {
                link.get("relation"): link.get("url") for link in bundle.get("link") or () if isinstance(link, dict)
            }
            if number == 0:
                self._check_self(links.get("self"), parameters)
            came += _matches(bundle)
            yield data
            onward = links.get("next")
            if not onward:
                if isinstance(total := bundle.get("total"), int) and came < total:
                    raise self._error(f"{came} of {total} {kind} came, and no page follows", "incomplete")
                return
            url = self._own(urljoin(url, str(onward)))
        raise self._error(f"more than {MOST_PAGES} pages of {kind}", "peer-failure")

    def is_gone(self, reference: str, until: float) -> bool:
        """Whether the server says that it had the resource, or has it no more.

        Raises:
            PeerError: it does not answer, or refuses to.
        """
        data, status, _ = self._get(urljoin(self._base, reference), until)
        if status in (404, 410):
            return True
        if status != 200:
            raise self._error(f"HTTP {status}{outcome_of(data)}", reason_of(status))
        return False

    def _page(self, url: str, until: float) -> tuple[bytes, dict[str, Any]]:
        while True:
            data, status, headers = self._get(url, until)
            if status not in (429, 503):
                break
            pause_s = seconds_of(headers.get("Retry-After", ""))
            if time.monotonic() + pause_s >= until:
                raise self._error(f"HTTP {status}, to be asked again in {pause_s:g} s", "busy")
            time.sleep(pause_s)
        if status != 200:
            raise self._error(f"HTTP {status}{outcome_of(data)}", reason_of(status))
        self.told_at = self.told_at or date_of(headers)
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
        return PeerError(f"{self._server.name}: {what}", reason=reason, remedy=REMEDIES[reason])


def _matches(bundle: Mapping[str, Any]) -> int:
    """How many entries were searched for, rather than come with them."""
    entries = [entry for entry in bundle.get("entry") or () if isinstance(entry, dict)]
    return sum((entry.get("search") or {}).get("mode", "match") == "match" for entry in entries)


def reason_of(status: int) -> str:
    if status in (401, 403):
        return "not-authorized"
    if status in (404, 405, 410):
        return "wrong-url"
    return "busy" if status in (429, 503) else "peer-failure"


def outcome_of(data: bytes) -> str:
    """What an OperationOutcome says, by its codes: its texts may name patients."""
    try:
        issues = json.loads(data).get("issue") or ()
        codes = [str(issue.get("code", ""))[:40] for issue in issues if isinstance(issue, dict)]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ""
    return f" ({', '.join(filter(None, codes))})" if any(codes) else ""


def seconds_of(text: str, unsaid_s: float = 1.0) -> float:
    """Retry-After in seconds: a number, or a date (RFC 9110 10.2.3); ``unsaid_s`` where it says nothing usable."""
    if text.strip().isdigit():
        wait_s = float(text)
    else:
        try:
            wait_s = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return unsaid_s
    return min(max(0.1, wait_s), 3600.0)


def date_of(headers: httpx.Headers) -> datetime | None:
    """When the server answered, by its own clock."""
    try:
        found = parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
