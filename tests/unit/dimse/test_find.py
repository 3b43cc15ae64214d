from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from listening import Node
from peers import free_port
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_node.dimse.find import STUDY_ROOT_FIND, find, images_reported, instances_held
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings

Serve = Callable[[Callable[[Any], Any]], PeerSettings]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a pynetdicom peer that answers queries as the handler says."""
    servers = []

    def start(handler: Callable[[Any], Any]) -> PeerSettings:
        ae = AE("PACS")
        ae.add_supported_context(STUDY_ROOT_FIND)
        port = free_port()
        servers.append(ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_FIND, handler)]))
        return PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)

    yield start
    for server in servers:
        server.shutdown()


def query() -> Dataset:
    keys = Dataset()
    keys.PatientID = "P1"
    keys.StudyInstanceUID = ""
    return keys


def test_matches_come_in_order(serve: Serve) -> None:
    asked = []

    def answer(event: Any) -> Any:
        asked.append(event.identifier)
        for number in range(3):
            match = Dataset()
            match.StudyInstanceUID = f"1.2.{number}"
            match.PatientID = event.identifier.PatientID
            yield 0xFF00, match
        yield 0x0000, None

    keys = query()
    found = find(serve(answer), "SCU", keys, "STUDY")
    assert [match.StudyInstanceUID for match in found] == ["1.2.0", "1.2.1", "1.2.2"]
    assert {match.PatientID for match in found} == {"P1"}
    assert asked[0].QueryRetrieveLevel == "STUDY"
    assert "QueryRetrieveLevel" not in keys


def test_no_match(serve: Serve) -> None:
    assert find(serve(lambda event: iter(())), "SCU", query(), "STUDY") == []


def test_a_failure_is_an_error(serve: Serve) -> None:
    def fail(event: Any) -> Any:
        yield 0xA700, None

    with pytest.raises(PeerError, match="C-FIND answered 0xA700"):
        find(serve(fail), "SCU", query(), "STUDY")


def test_a_peer_without_query_is_named(node: Node) -> None:
    with pytest.raises(PeerError, match="not accepted"):
        find(node.peer, "SCU", query(), "STUDY")


def test_numbers_of_images_are_asked_of_study_and_series(serve: Serve) -> None:
    def answer(event: Any) -> Any:
        keys, match = event.identifier, Dataset()
        match.StudyInstanceUID = keys.StudyInstanceUID
        if keys.QueryRetrieveLevel == "STUDY":
            match.NumberOfStudyRelatedInstances = 7
            yield 0xFF00, match
            return
        for number, images in ((1, 5), (2, None)):
            match.SeriesInstanceUID = f"1.2.{number}"
            match.NumberOfSeriesRelatedInstances = images
            yield 0xFF00, match

    told = images_reported(serve(answer), "SCU", "1.2")
    assert (told.study, dict(told.series), told.known) == (7, {"1.2.1": 5, "1.2.2": None}, True)


def test_a_study_the_peer_does_not_know_has_no_number(serve: Serve) -> None:
    told = images_reported(serve(lambda event: iter(())), "SCU", "1.2")
    assert (told.study, dict(told.series), told.known) == (None, {}, False)


def test_instances_of_several_series_are_asked_over_one_association(serve: Serve) -> None:
    asked = []

    def answer(event: Any) -> Any:
        keys = event.identifier
        asked.append((event.assoc.name, keys.QueryRetrieveLevel, keys.StudyInstanceUID, keys.SeriesInstanceUID))
        for number in range(2):
            match = Dataset()
            match.SOPInstanceUID = f"{keys.SeriesInstanceUID}.{number}"
            yield 0xFF00, match

    held = instances_held(serve(answer), "SCU", "1.2", ["1.2.3", "1.2.4"])
    assert held == {"1.2.3.0", "1.2.3.1", "1.2.4.0", "1.2.4.1"}
    assert [each[1:] for each in asked] == [("IMAGE", "1.2", "1.2.3"), ("IMAGE", "1.2", "1.2.4")]
    assert len({each[0] for each in asked}) == 1
