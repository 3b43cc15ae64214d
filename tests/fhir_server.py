"""A FHIR server for tests: speaks FHIR JSON over HTTP on loopback, with pages, tokens, and faults when it is told so.

It serves the resources it is given; searches by identifier, patient and code; pages by ``_count``; gives tokens for
assertions that are signed by the client's key, fresh, and used once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fhir_exports import FhirExports

Resource = dict[str, Any]
Codes = {"Observation": "code", "Condition": "code", "MedicationRequest": "medicationCodeableConcept"}


def register(server: FhirServer, folder: Path) -> dict[str, Any]:
    """Let a client of the server prove who it is; what its settings say."""
    made = ec.generate_private_key(ec.SECP384R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "client.pem").write_bytes(made.private_bytes(*form))
    public = made.public_key().public_bytes(form[0], serialization.PublicFormat.SubjectPublicKeyInfo)
    server.public_key = public.decode()
    told = {"auth": "smart", "token_url": server.token_url, "client_id": "node"}
    return {**told, "key": str(folder / "client.pem")}


@dataclass
class FhirServer:
    """Start it with ``with``; ``faults`` are taken one per search, from the front."""

    resources: list[Resource]
    public_key: str = ""  # PEM; empty: no token is asked for
    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # paths with their parameters
    tokens: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)  # ids of assertions
    exports: FhirExports = field(default_factory=FhirExports)
    _http: ThreadingHTTPServer | None = None

    def __enter__(self) -> FhirServer:
        handler = type("Handler", (_Handler,), {"site": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._http is not None
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Its base."""
        assert self._http is not None
        return f"http://127.0.0.1:{self._http.server_port}/fhir"

    @property
    def token_url(self) -> str:
        """Where tokens are given."""
        return self.url.replace("/fhir", "/token")

    def search(self, kind: str, asked: dict[str, str]) -> list[Resource]:
        """What a search finds; a parameter it does not know raises KeyError, as strict handling has it."""
        found = [each for each in self.resources if each["resourceType"] == kind]
        for name, value in asked.items():
            if not name.startswith("_") or name in _MATCH:
                found = [each for each in found if _MATCH[name](each, value)]
        return found


def _has_identifier(resource: Resource, token: str) -> bool:
    return any(f"{each.get('system')}|{each['value']}" == token for each in resource.get("identifier", ()))


def _is_of(resource: Resource, patient: str) -> bool:
    return (resource.get("subject") or resource.get("patient") or {}).get("reference") in patient.split(",")


def _is_one_of(resource: Resource, ids: str) -> bool:
    return resource["id"] in ids.split(",")


def _is_as_new(resource: Resource, since: str) -> bool:
    updated = (resource.get("meta") or {}).get("lastUpdated", "2026-01-01T00:00:00Z")
    return datetime.fromisoformat(updated) >= datetime.fromisoformat(since.removeprefix("ge"))


def _has_code(resource: Resource, tokens: str) -> bool:
    wanted = set(tokens.split(","))
    concept = resource.get(Codes[resource["resourceType"]]) or {}  # not of its components: the standard has it so
    return any(f"{c.get('system')}|{c['code']}" in wanted for c in concept.get("coding", ()))


_MATCH: dict[str, Callable[[Resource, str], bool]] = {
    "identifier": _has_identifier,
    "patient": _is_of,
    "code": _has_code,
    "_id": _is_one_of,
    "_lastUpdated": _is_as_new,
}


class _Handler(BaseHTTPRequestHandler):
    site: FhirServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """The token endpoint."""
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        try:
            claims = jwt.decode(
                form["client_assertion"],
                self.site.public_key,
                algorithms=["ES384", "RS384"],
                audience=self.site.token_url,
            )
            good = claims["iss"] == claims["sub"] == "node" and claims["exp"] - time.time() <= 300
            good = good and claims["jti"] not in self.site.used and form["grant_type"] == "client_credentials"
        except (jwt.PyJWTError, KeyError):
            good = False
        if not good:
            self._answer(400, {"error": "invalid_client"})
            return
        self.site.used.add(claims["jti"])
        token = f"token-{len(self.site.used)}"
        self.site.tokens.add(token)
        self._answer(200, {"access_token": token, "token_type": "bearer", "expires_in": 300})

    def do_DELETE(self) -> None:
        """An export is forgotten."""
        self.site.asked.append(f"DELETE {self.path}")
        self._answer(202, {})

    def do_GET(self) -> None:
        """A search, a resource, or a part of an export."""
        self.site.asked.append(self.path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        open_to_all = "/exports/" in self.path and self.path.endswith(".ndjson") and not self.site.exports.token
        if self.site.public_key and token not in self.site.tokens and not open_to_all:
            self._outcome(401, "login")
            return
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        fault = self.site.faults.pop(0) if self.site.faults else ""
        if fault in _FAULTS:
            _FAULTS[fault](self)
            return
        export = self.site.exports.answer(self.site, self.path, self.headers)
        if export is not None:
            self._export(*export, fault)
            return
        kind, _, number = parts.path.removeprefix("/fhir/").partition("/")
        if number:
            held = [each for each in self.site.resources if (each["resourceType"], each["id"]) == (kind, number)]
            self._answer(200 if held else 404, held[0] if held else {"resourceType": "OperationOutcome"})
            return
        try:
            found = self.site.search(kind, asked)
        except KeyError:
            self._outcome(400, "not-supported")
            return
        self._bundle(parts.path, asked, found, fault)

    def _export(self, status: int, data: bytes, headers: dict[str, str], fault: str) -> None:
        if fault == "cut" and data:
            data = data[: data.rstrip().rfind(b"\n") + 1]  # clean, between two lines
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if fault == "broken" else data)
        if fault == "broken":
            self.close_connection = True

    def _bundle(self, path: str, asked: dict[str, str], found: list[Resource], fault: str) -> None:
        start, count = int(asked.get("_offset", 0)), int(asked.get("_count", 20))
        base = self.site.url.removesuffix("/fhir") + path
        told = {name: value for name, value in asked.items() if fault != "ignored" or name != "patient"}
        links = [{"relation": "self", "url": f"{base}?{urlencode(told)}"}]
        if start + count < len(found):
            onward = f"{base}?{urlencode({**asked, '_offset': str(start + count)})}"
            links.append({"relation": "next", "url": "http://127.0.0.1:1/x" if fault == "elsewhere" else onward})
        entries = [{"resource": each, "search": {"mode": "match"}} for each in found[start : start + count]]
        body: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": links}
        if entries:
            body["entry"] = entries
        self._answer(200, body, cut=fault == "truncated")

    def _outcome(self, status: int, code: str, **headers: str) -> None:
        issue = {"severity": "error", "code": code, "diagnostics": "patient Doe^Jane"}
        self._answer(status, {"resourceType": "OperationOutcome", "issue": [issue]}, **headers)

    def _answer(self, status: int, body: Any, cut: bool = False, **headers: str) -> None:
        data = json.dumps(body).encode()
        data = data[: len(data) // 2] if cut else data
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/fhir+json",
            "Content-Length": str(len(data)),
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


def _slow(handler: _Handler) -> None:
    """A body that drips."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    try:
        for _ in range(100):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        handler.close_connection = True


def _expire(handler: _Handler) -> None:
    handler.site.tokens.clear()
    handler._outcome(401, "login")


_FAULTS: dict[str, Callable[[_Handler], None]] = {
    "slow": _slow,
    "401": _expire,
    "403": lambda handler: handler._outcome(403, "forbidden"),
    "404": lambda handler: handler._outcome(404, "not-found"),
    "410": lambda handler: handler._outcome(410, "deleted"),
    "500": lambda handler: handler._outcome(500, "exception"),
    "429": lambda handler: handler._outcome(429, "throttled", Retry_After="1"),
    "429-long": lambda handler: handler._outcome(429, "throttled", Retry_After="3000"),
    "html": lambda handler: handler._answer(200, "<html>"),
}
