"""Searching a FHIR server: all pages, by a deadline, with faults told by name and nothing taken on trust."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from fhir_records import MRN, observation, patient
from fhir_server import FhirServer

from dicom_node.ehr_settings import ServerSettings
from dicom_node.errors import PeerError
from dicom_node.exchange.fhir_client import FhirClient

RECORD = [patient(), *(observation("33914-3", 60 + n, "mL/min", f"o{n}") for n in range(7))]
ASKED = {"patient": "Patient/a", "_count": "3"}


@pytest.fixture
def server() -> Iterator[FhirServer]:
    with FhirServer(list(RECORD)) as made:
        yield made


def pages(server: FhirServer, kind: str = "Observation", seconds: float = 5.0, **more: str) -> list[bytes]:
    settings = ServerSettings(name="epic", url=server.url, deadline_seconds=seconds)
    with FhirClient(settings) as client:
        return list(client.search(kind, {**ASKED, **more}, time.monotonic() + seconds))


def test_every_page_is_followed(server: FhirServer) -> None:
    found = [json.loads(page)["entry"] for page in pages(server)]
    assert [len(entries) for entries in found] == [3, 3, 1]
    assert len({entry["resource"]["id"] for entries in found for entry in entries}) == 7


def test_a_search_by_identifier() -> None:
    with FhirServer([patient(), patient("P2", "b")]) as server:
        settings = ServerSettings(name="epic", url=server.url)
        with FhirClient(settings) as client:
            (page,) = client.search("Patient", {"identifier": f"{MRN}|P2"}, time.monotonic() + 5)
    assert [entry["resource"]["id"] for entry in json.loads(page)["entry"]] == ["b"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("401", "not-authorized"),
        ("403", "not-authorized"),
        ("410", "wrong-url"),
        ("500", "peer-failure"),
        ("429-long", "busy"),
        ("html", "not-fhir"),
        ("truncated", "not-fhir"),
        ("ignored", "ignored-parameters"),
        ("elsewhere", "peer-failure"),
    ],
)
def test_faults_have_a_name_and_tell_nothing_of_the_patient(server: FhirServer, fault: str, reason: str) -> None:
    server.faults = [fault]
    with pytest.raises(PeerError) as caught:
        pages(server)
    assert caught.value.reason == reason
    assert caught.value.remedy
    assert "Doe" not in str(caught.value)


def test_a_fault_after_the_first_page_is_no_whole_answer(server: FhirServer) -> None:
    server.faults = ["", "500"]
    with pytest.raises(PeerError, match=r"HTTP 500 \(exception\)"):
        pages(server)


def test_a_server_that_asks_for_a_pause_gets_it(server: FhirServer) -> None:
    server.faults = ["429"]
    start = time.monotonic()
    assert len(pages(server)) == 3
    assert time.monotonic() - start >= 1


def test_a_slow_body_ends_with_the_deadline(server: FhirServer) -> None:
    server.faults = ["slow"]
    start = time.monotonic()
    with pytest.raises(PeerError) as caught:
        pages(server, seconds=1.0)
    assert caught.value.reason == "deadline"
    assert time.monotonic() - start < 3


def test_a_parameter_that_is_not_known_is_refused_by_the_server(server: FhirServer) -> None:
    with pytest.raises(PeerError, match="not-supported"):
        pages(server, colour="blue")


def test_nobody_there(server: FhirServer) -> None:
    settings = ServerSettings(name="epic", url="http://127.0.0.1:1/fhir")
    with FhirClient(settings) as client, pytest.raises(PeerError) as caught:
        list(client.search("Patient", {}, time.monotonic() + 1))
    assert caught.value.reason == "no-answer"
