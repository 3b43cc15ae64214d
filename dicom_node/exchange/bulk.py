"""FHIR Bulk Data Access: kick-off, polling, manifest and files of an export (hl7.org/fhir/uv/bulkdata, STU 2).

Our token goes to the server itself alone: files elsewhere are fetched without one, and refused where they need it. What
a server says of pauses is obeyed. Files go to the disk as they come, of whatever size; one that holds another number of
resources than the manifest counts was cut off.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import httpx

from dicom_node.ehr_settings import ServerSettings
from dicom_node.errors import PeerError
from dicom_node.exchange.fhir_client import REMEDIES, connect, outcome_of, reason_of, seconds_of

NDJSON = "application/fhir+ndjson"
_LARGEST_BYTES = 512_000_000  # of one file; servers cut exports into files far below
_UNSAID_S = 10.0  # between polls of a server that does not say
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file of an export."""

    type: str
    url: str
    count: int | None = None  # of its resources, where the server says


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export holds."""

    at: str  # transactionTime: what changed before it is in the files; the next export asks from here
    token: bool  # whether files need ours
    output: tuple[ExportFile, ...]
    deleted: tuple[ExportFile, ...] = ()
    error: tuple[ExportFile, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For whoever goes on later."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Manifest:
        """The same again."""
        lists = {name: tuple(ExportFile(**each) for each in told[name]) for name in ("output", "deleted", "error")}
        return cls(told["at"], told["token"], **lists)


class Expired(PeerError):
    """The server knows nothing of the export, or of a file of it, any more: it has to be begun anew."""

    default_reason = "export-expired"


class BulkClient:
    """Exports of one server. For one thread; to be closed."""

    def __init__(self, server: ServerSettings) -> None:
        self._server = server
        self._base = server.url.rstrip("/") + "/"
        self._client = connect(server)

    def __enter__(self) -> BulkClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def kick_off(self, types: Sequence[str], since: datetime | None) -> str | float:
        """Have an export begun; the address at which it is asked after, or seconds to wait before it may be begun.

        Raises:
            PeerError: the server refuses.
        """
        asked = {"_type": ",".join(types), "_outputFormat": NDJSON}
        if since is not None:
            asked["_since"] = since.isoformat()
        whom = "" if self._server.export == "system" else f"{self._server.export}/"
        url = urljoin(self._base, f"{whom}$export")
        response = self._ask("GET", url, asked, {"Prefer": "respond-async"}, (429, 503))
        if response.status_code in (429, 503):
            return seconds_of(response.headers.get("Retry-After", ""), _UNSAID_S)
        where = response.headers.get("Content-Location", "")
        if response.status_code != 202 or not where:
            raise self._error(f"it does not begin an export: HTTP {response.status_code}", "not-fhir")
        return self._own(urljoin(self._base, where))

    def poll(self, status_url: str) -> Manifest | float:
        """The manifest, or seconds to wait before asking again.

        Raises:
            Expired: the server does not know the export any more.
            PeerError: the export failed, or the server does not answer.
        """
        response = self._ask("GET", self._own(status_url), {}, {"Accept": "application/json"}, (404, 410, 429, 503))
        if response.status_code in (404, 410):
            raise Expired(f"{self._server.name}: it knows nothing of the export any more")
        if response.status_code in (202, 429, 503):
            return seconds_of(response.headers.get("Retry-After", ""), _UNSAID_S)
        return self._manifest(response.content)

    def fetch(self, entry: ExportFile, manifest: Manifest, file: BinaryIO) -> None:
        """Write a file of the export to ``file``, whole, and leave that at its beginning.

        Raises:
            Expired: the server does not have it any more.
            PeerError: it was cut off, is too large, or needs our token and lies elsewhere.
        """
        ours = _origin(entry.url) == _origin(self._base)
        if manifest.token and not ours:
            raise self._error(
                f"a file on {urlsplit(entry.url).netloc} needs a token that is for {self._base}", "foreign-file"
            )
        auth = httpx.USE_CLIENT_DEFAULT if manifest.token else None
        try:
            with self._client.stream("GET", entry.url, headers={"Accept": NDJSON}, auth=auth) as response:
                if response.status_code in (404, 410):
                    raise Expired(f"{self._server.name}: a file of the export is gone")
                if (status := response.status_code) != 200:
                    raise self._error(f"a file of the export: HTTP {status}", reason_of(status))
                self._write(response.iter_bytes(_BLOCK), file)
        except httpx.TimeoutException as error:
            raise self._error("a file of the export did not come in time", "deadline") from error
        except httpx.HTTPError as error:
            raise self._error(f"a file of the export was cut off: {type(error).__name__}", "no-answer") from error
        if entry.count is not None and (found := _lines(file)) != entry.count:
            raise self._error(f"a file of {entry.count} {entry.type} holds {found}", "cut-off")

    def end(self, status_url: str) -> None:
        """Let the server forget the export; one that cannot does so by itself later."""
        self._ask("DELETE", self._own(status_url), {}, {}, range(400, 600))

    def _write(self, parts: Iterator[bytes], file: BinaryIO) -> None:
        left = _LARGEST_BYTES
        for part in parts:
            left -= len(part)
            if left < 0:
                raise self._error(f"a file of more than {_LARGEST_BYTES // 1_000_000} MB", "peer-failure")
            file.write(part)
        file.seek(0)

    def _ask(
        self, method: str, url: str, asked: Mapping[str, str], headers: Mapping[str, str], taken: Container[int]
    ) -> httpx.Response:
        """The answer; of those that are no success, those ``taken``."""
        try:
            response = self._client.request(method, url, params=asked or None, headers=dict(headers))
        except httpx.TimeoutException as error:
            raise self._error("it did not answer in time", "deadline") from error
        except httpx.HTTPError as error:
            raise self._error(f"the connection failed: {type(error).__name__}", "no-answer") from error
        status = response.status_code
        if not response.is_success and status not in taken:
            raise self._error(f"HTTP {status}{outcome_of(response.content)}", reason_of(status))
        return response

    def _manifest(self, data: bytes) -> Manifest:
        try:
            told = json.loads(data)
            lists = {name: tuple(map(self._file, told.get(name) or ())) for name in ("output", "deleted", "error")}
            return Manifest(str(told["transactionTime"]), bool(told.get("requiresAccessToken", False)), **lists)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._error("its manifest of the export cannot be read", "not-fhir") from error

    def _file(self, told: Mapping[str, Any]) -> ExportFile:
        count = told.get("count")
        url = urljoin(self._base, str(told["url"]))
        return ExportFile(str(told.get("type", "")), url, count if isinstance(count, int) else None)

    def _own(self, url: str) -> str:
        if _origin(url) != _origin(self._base):
            raise self._error(f"it sends us to another server, {urlsplit(url).netloc}", "peer-failure")
        return url

    def _error(self, what: str, reason: str) -> PeerError:
        remedy = REMEDIES.get(reason, "see the log of the server; the export is tried again")
        return PeerError(f"{self._server.name}: {what}", reason=reason, remedy=remedy)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _lines(file: BinaryIO) -> int:
    """How many lines hold something."""
    found = sum(1 for line in file if line.strip())
    file.seek(0)
    return found
