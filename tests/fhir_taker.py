"""A FHIR server that is told of results: transactions with conditional updates and creates, and searches."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fhir.resources.R4B import get_fhir_model_class

Resource = dict[str, Any]


@dataclass
class FhirTaker:
    """Start it with ``with``; ``before`` and ``after`` of a transaction may break it, once each."""

    resources: list[Resource] = field(default_factory=list)
    before: list[Callable[[_Handler], None]] = field(default_factory=list)
    after: list[Callable[[_Handler], None]] = field(default_factory=list)
    transactions: int = 0
    _http: ThreadingHTTPServer | None = None

    def __enter__(self) -> FhirTaker:
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

    def of(self, kind: str) -> list[Resource]:
        """What it has of a type."""
        return [each for each in self.resources if each["resourceType"] == kind]

    def found(self, kind: str, token: str) -> list[Resource]:
        """By identifier."""
        return [
            each
            for each in self.of(kind)
            if any(f"{i.get('system')}|{i['value']}" == token for i in each.get("identifier", ()))
        ]

    def apply(self, bundle: Resource) -> Resource:
        """A transaction, whole; every resource is checked by R4B's models, every reference must lead somewhere."""
        assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "transaction")
        get_fhir_model_class("Bundle").model_validate(bundle)
        urls = {entry["fullUrl"] for entry in bundle["entry"]}
        ids, answers = {}, []
        for entry in bundle["entry"]:
            resource, request = entry["resource"], entry["request"]
            get_fhir_model_class(resource["resourceType"]).model_validate(resource)
            assert all(each in urls for each in _references(resource) if each.startswith("urn:uuid:"))
            answers.append({"response": {"status": self._put(resource, request, entry["fullUrl"], ids)}})
        for resource in self.resources:
            _resolve(resource, ids)
        self.transactions += 1
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _put(self, resource: Resource, request: Resource, url: str, ids: dict[str, str]) -> str:
        kind = resource["resourceType"]
        if request["method"] == "POST":
            known = self.found(kind, request["ifNoneExist"].removeprefix("identifier="))
            if known:
                ids[url] = f"{kind}/{known[0]['id']}"
                return "200"
        elif "?identifier=" in request["url"]:
            known = self.found(kind, request["url"].partition("?identifier=")[2])
        else:
            known = [each for each in self.of(kind) if each["id"] == request["url"].partition("/")[2]]
        assert len(known) <= 1
        made = {"id": f"{kind.lower()}-{len(self.resources)}", **resource}
        if known:
            made["id"] = known[0]["id"]
            self.resources.remove(known[0])
        self.resources.append(made)
        ids[url] = f"{kind}/{made['id']}"
        return "200" if known else "201"


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [each for part in value.values() for each in _references(part)]
    return [each for part in value for each in _references(part)] if isinstance(value, list) else []


def _resolve(value: Any, ids: dict[str, str]) -> None:
    if isinstance(value, dict):
        if value.get("reference") in ids:
            value["reference"] = ids[value["reference"]]
        for part in value.values():
            _resolve(part, ids)
    elif isinstance(value, list):
        for part in value:
            _resolve(part, ids)


class _Handler(BaseHTTPRequestHandler):
    site: FhirTaker
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """A transaction."""
        bundle = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.site.before:
            self.site.before.pop(0)(self)
            return
        answer = self.site.apply(bundle)
        if self.site.after:
            self.site.after.pop(0)(self)
            return
        self.answer(200, answer)

    def do_GET(self) -> None:
        """A search by identifier, or what it is."""
        parts = urlsplit(self.path)
        kind = parts.path.rsplit("/", 1)[1]
        if kind == "metadata":
            self.answer(200, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"})
            return
        found = self.site.found(kind, parse_qs(parts.query)["identifier"][0])
        entries = [{"resource": each} for each in found]
        self.answer(200, {"resourceType": "Bundle", "type": "searchset", "entry": entries})

    def answer(self, status: int, body: Any) -> None:
        """As FHIR JSON."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def hang_up(self) -> None:
        """End the connection without an answer."""
        self.close_connection = True
        self.connection.close()
