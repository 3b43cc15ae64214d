"""How a peer is asked in which study, of which patient, it has images; and what it may answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers import free_port
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_node.dimse.find import STUDY_ROOT_FIND
from dicom_node.dimse.study_record import study_records
from dicom_node.domain.record import StudyRecord
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings

HOME, AWAY, SERIES = "1.2.3.1", "1.2.3.9", "1.2.3.1.1"
IMAGES = {SERIES: ("1.2.3.1.1.1", "1.2.3.1.1.2")}
Answers = Callable[[Dataset], list[Dataset]]


def match(**values: str) -> Dataset:
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def pacs(study: str = HOME, patient: str = "P1", accession: str = "A1") -> Answers:
    """A peer with the images in a study, which answers relational queries too."""

    def answer(query: Dataset) -> list[Dataset]:
        if query.QueryRetrieveLevel == "STUDY":
            here = query.StudyInstanceUID == study
            return [match(StudyInstanceUID=study, PatientID=patient, AccessionNumber=accession)] if here else []
        if query.StudyInstanceUID not in ("", study):
            return []
        wanted = [uid for uid in IMAGES[SERIES] if query.SOPInstanceUID in ("", uid)]
        return [match(StudyInstanceUID=study, SeriesInstanceUID=SERIES, SOPInstanceUID=uid) for uid in wanted]

    return answer


@pytest.fixture
def ask() -> Iterator[Callable[[Any], tuple[StudyRecord, ...]]]:
    """Asks a peer that answers queries by this function, or by this handler of pynetdicom."""
    servers = []

    def start(answer: Any) -> tuple[StudyRecord, ...]:
        def handle(event: Any) -> Any:
            for found in answer(event.identifier):
                if found == "abort":
                    event.assoc.abort()
                    return
                yield (0xFF00, found) if isinstance(found, Dataset) else found
            yield 0x0000, None

        ae = AE("PACS")
        ae.add_supported_context(STUDY_ROOT_FIND)
        port = free_port()
        servers.append(ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_FIND, handle)]))
        peer = PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
        return study_records(peer, "SCU", HOME, IMAGES, 10.0)

    yield start
    for server in servers:
        server.shutdown()


def test_images_where_they_were(ask: Any) -> None:
    assert ask(pacs()) == (StudyRecord(HOME, "P1", "", "A1", frozenset(IMAGES[SERIES])),)


def test_images_in_another_study(ask: Any) -> None:
    assert ask(pacs(AWAY, "P2", "A2")) == (StudyRecord(AWAY, "P2", "", "A2", frozenset(IMAGES[SERIES])),)


def test_a_peer_without_relational_queries_does_not_tell_where_they_went(ask: Any) -> None:
    asked: list[Dataset] = []

    def answer(query: Dataset) -> Any:
        asked.append(query)
        return [(0xA900, None)] if query.get("StudyInstanceUID") == "" else []

    assert ask(answer) == ()
    assert [query.QueryRetrieveLevel for query in asked] == ["STUDY", "IMAGE", "IMAGE"]


def test_two_patients_are_two_records(ask: Any) -> None:
    def answer(query: Dataset) -> list[Dataset]:
        return [*pacs()(query), *pacs(patient="P2")(query)]

    assert [record.patient_id for record in ask(answer)] == ["P1", "P2"]


def test_empty_values_are_nothing_told(ask: Any) -> None:
    (record,) = ask(pacs(patient="", accession=""))
    assert (record.patient_id, record.accession_number) == ("", "")


def test_an_answer_to_another_question_is_no_answer(ask: Any) -> None:
    with pytest.raises(PeerError, match="other studies than it was asked for"):
        ask(lambda query: [match(StudyInstanceUID="1.2.3.99", PatientID="P9")])


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0xFE00, 0x0122])
def test_a_failure_is_told(ask: Any, status: int) -> None:
    with pytest.raises(PeerError, match="C-FIND answered 0x"):
        ask(lambda query: [(status, None)])


def test_a_peer_that_aborts_is_told(ask: Any) -> None:
    with pytest.raises(PeerError, match="aborted"):
        ask(lambda query: ["abort"])
