"""What a DICOMweb server says of its studies and images, and what it may answer instead."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from dicom_node.domain.record import StudyRecord
from dicom_node.errors import PeerError
from dicom_node.exchange import qido
from dicom_node.settings import PeerSettings

HOME, AWAY, SERIES = "1.2.3.1", "1.2.3.9", "1.2.3.1.1"
IMAGES = {SERIES: ("1.2.3.1.1.1", "1.2.3.1.1.2")}
Answer = Callable[[str, dict[str, str]], tuple[int, Any]]
Ask = Callable[[Answer], tuple[StudyRecord, ...]]


def match(**values: str) -> dict[str, Any]:
    tags = {"study": "0020000D", "series": "0020000E", "sop": "00080018", "patient": "00100020"}
    tags |= {"issuer": "00100021", "accession": "00080050"}
    return {tags[name]: {"vr": "UI", "Value": [value]} for name, value in values.items()}


def pacs(study: str = HOME, patient: str = "P1") -> Answer:
    """A server that has the images in a study."""

    def answer(path: str, keys: dict[str, str]) -> tuple[int, Any]:
        if keys.get("offset"):
            return 204, None
        if path == "/studies":
            here = keys.get("StudyInstanceUID") == study
            return 200, [match(study=study, patient=patient, accession="A1")] if here else []
        if path == f"/studies/{study}/series/{SERIES}/instances":
            return 200, [match(study=study, series=SERIES, sop=uid) for uid in IMAGES[SERIES]]
        if path == "/instances":
            return 200, [match(study=study, series=SERIES, sop=keys["SOPInstanceUID"])]
        return 404, None

    return answer


@pytest.fixture
def server() -> Iterator[Callable[[Answer], PeerSettings]]:
    """Starts an HTTP server that answers as told; its entry."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> PeerSettings:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = urlsplit(self.path)
                status, body = answer(asked.path, {key: values[0] for key, values in parse_qs(asked.query).items()})
                content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Silence."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return PeerSettings(name="web", kind="dicomweb", url=f"http://127.0.0.1:{servers[-1].server_port}")

    yield start
    for each in servers:
        each.shutdown()
        each.server_close()


@pytest.fixture
def ask(server: Callable[[Answer], PeerSettings]) -> Ask:
    def asked(answer: Answer) -> tuple[StudyRecord, ...]:
        with httpx.Client() as client:
            return qido.study_records(client, server(answer), HOME, IMAGES, 10.0)

    return asked


def test_images_where_they_were(ask: Ask) -> None:
    assert ask(pacs()) == (StudyRecord(HOME, "P1", "", "A1", frozenset(IMAGES[SERIES])),)


def test_images_in_another_study(ask: Ask) -> None:
    assert ask(pacs(AWAY, "P2")) == (StudyRecord(AWAY, "P2", "", "A1", frozenset(IMAGES[SERIES])),)


def test_a_server_that_does_not_search_all_instances(ask: Ask) -> None:
    def answer(path: str, keys: dict[str, str]) -> tuple[int, Any]:
        return (501, None) if path == "/instances" else (204, None)

    assert ask(answer) == ()


def test_a_server_that_does_not_page_is_asked_twice(ask: Ask) -> None:
    def answer(path: str, keys: dict[str, str]) -> tuple[int, Any]:
        return pacs()(path, {key: value for key, value in keys.items() if key != "offset"})

    assert ask(answer) == (StudyRecord(HOME, "P1", "", "A1", frozenset(IMAGES[SERIES])),)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((500, None), "HTTP 500"),
        ((401, None), "HTTP 401"),
        ((200, b"<html>"), "cannot be read"),
        ((200, {"what": 1}), "cannot be read"),
        ((200, [match(study="1.2.99", patient="P9")]), "other studies than it was asked for"),
        ((200, [None, 5, {}]), "other studies than it was asked for"),
    ],
)
def test_what_is_no_answer_is_told(ask: Ask, answer: tuple[int, Any], why: str) -> None:
    with pytest.raises(PeerError, match=why):
        ask(lambda path, keys: answer)


@pytest.mark.parametrize("odd", [{"Value": []}, {"Value": [{"Alphabetic": "x"}]}, {"vr": "LO"}, None, "text"])
def test_odd_values_are_nothing_told(ask: Ask, odd: Any) -> None:
    def answer(path: str, keys: dict[str, str]) -> tuple[int, Any]:
        status, found = pacs()(path, keys)
        if path == "/studies" and found:
            found = [{**found[0], "00100020": odd}]
        return status, found

    (record,) = ask(answer)
    assert (record.patient_id, record.accession_number) == ("", "A1")


def test_what_it_holds_and_whether_it_is_there(server: Callable[[Answer], PeerSettings]) -> None:
    peer = server(pacs())
    with httpx.Client() as client:
        assert qido.instances_held(client, peer, HOME, [SERIES]) == frozenset(IMAGES[SERIES])
        assert qido.instances_held(client, peer, AWAY, [SERIES]) == frozenset()
        assert qido.echo(client, peer) > 0
