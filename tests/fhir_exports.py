"""Bulk Data exports of the FHIR server for tests: what it was asked, and what goes wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

Resource = dict[str, Any]
AT = "2026-03-02T06:00:00Z"  # transactionTime of every export


@dataclass
class FhirExports:
    """How a server exports; the faults of one are names of what it does instead, taken from the front."""

    polls: int = 1  # that are answered with 202 before the manifest
    token: bool = False  # requiresAccessToken
    deleted: list[str] = field(default_factory=list)  # Type/id
    errors: list[str] = field(default_factory=list)  # codes
    elsewhere: str = ""  # base of the files, where that is not the server's
    asked: list[dict[str, str]] = field(default_factory=list)  # parameters of each kick-off
    began: int = 0
    credentials: list[str] = field(default_factory=list)  # Authorization of each request for a file

    def answer(self, site: Any, path: str, headers: Any) -> tuple[int, bytes, dict[str, str]] | None:
        """Status, body and headers; None: it is no part of an export."""
        parts = urlsplit(path)
        if parts.path.endswith("/$export"):
            if headers.get("Prefer") != "respond-async":
                return 400, b"{}", {}
            self.began += 1
            self.asked.append({name: values[0] for name, values in parse_qs(parts.query).items()})
            return 202, b"", {"Content-Location": f"{site.url}/exports/{self.began}"}
        if "/exports/" not in parts.path:
            return None
        number, *rest = parts.path.split("/exports/")[1].split("/")
        if int(number) != self.began:
            return 404, b"{}", {}
        if rest:
            self.credentials.append(headers.get("Authorization", ""))
            return 200, self._file(site, rest[0]), {"Content-Type": "application/fhir+ndjson"}
        if self.polls > 0:
            self.polls -= 1
            return 202, b"", {"Retry-After": "0", "X-Progress": "half"}
        return 200, json.dumps(self._manifest(site)).encode(), {"Content-Type": "application/json"}

    def _manifest(self, site: Any) -> dict[str, Any]:
        base = f"{self.elsewhere or site.url}/exports/{self.began}"
        types = sorted({each["resourceType"] for each in site.resources})
        counted = {kind: sum(each["resourceType"] == kind for each in site.resources) for kind in types}
        files = [{"type": kind, "url": f"{base}/{kind}.ndjson", "count": counted[kind]} for kind in types]
        told: dict[str, Any] = {"transactionTime": AT, "request": f"{site.url}/$export", "output": files}
        told["requiresAccessToken"] = self.token
        told["deleted"] = [{"type": "Bundle", "url": f"{base}/deleted.ndjson"}] if self.deleted else []
        told["error"] = [{"type": "OperationOutcome", "url": f"{base}/error.ndjson"}] if self.errors else []
        return told

    def _file(self, site: Any, name: str) -> bytes:
        kind = name.removesuffix(".ndjson")
        if kind == "deleted":
            entries = [{"request": {"method": "DELETE", "url": each}} for each in self.deleted]
            lines = [{"resourceType": "Bundle", "type": "transaction", "entry": entries}]
        elif kind == "error":
            issues = [{"severity": "error", "code": code, "diagnostics": "of Doe^Jane"} for code in self.errors]
            lines = [{"resourceType": "OperationOutcome", "issue": issues}]
        else:
            lines = [each for each in site.resources if each["resourceType"] == kind]
        return "".join(json.dumps(each) + "\n" for each in lines).encode()
