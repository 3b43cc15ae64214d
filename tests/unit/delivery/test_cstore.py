"""Deliveries to DICOM application entities: what is sent is held, and its record can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deliveries import write_image
from peers import free_port
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from dicom_node.delivery.cstore import DicomDestination
from dicom_node.dimse.find import STUDY_ROOT_FIND
from dicom_node.domain.record import StudyRecord, Subject
from dicom_node.domain.sending import OutgoingObject
from dicom_node.errors import PeerError
from dicom_node.settings import DeliverySettings, PeerSettings, Settings

STUDY, SERIES, IMAGE = "1.2.3", "1.2.3.1", "1.2.3.1.1"
DESTINATION = DicomDestination(Settings(delivery=DeliverySettings(timeout_seconds=5)))


@pytest.fixture
def pacs() -> Iterator[PeerSettings]:
    """A peer that stores, and finds what it has stored."""
    held: list[Dataset] = []

    def store(event: Any) -> int:
        held.append(event.dataset)
        return 0x0000

    def find(event: Any) -> Any:
        for found in held:
            if found.StudyInstanceUID == event.identifier.StudyInstanceUID:
                yield 0xFF00, found
        yield 0x0000, None

    ae = AE("PACS")
    ae.add_supported_context(STUDY_ROOT_FIND)
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    port = free_port()
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    yield PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
    server.shutdown()


def an_object(folder: Path) -> OutgoingObject:
    made = {"sop_class": CTImageStorage, "sop_uid": IMAGE, "series_uid": SERIES}
    made |= {"transfer_syntax": ExplicitVRLittleEndian}
    write_image(folder / "image.dcm", made, STUDY, 4096)
    return OutgoingObject(folder / "image.dcm", CTImageStorage, IMAGE, ExplicitVRLittleEndian, STUDY, SERIES)


def test_what_is_sent_is_held_and_recorded(pacs: PeerSettings, tmp_path: Path) -> None:
    each = an_object(tmp_path)
    assert DESTINATION.holds(pacs, [each]) == frozenset()
    paid: list[int] = []
    (outcome,) = DESTINATION.send(pacs, [each], paid.append)
    assert outcome.ok
    assert sum(paid) > 4096
    assert DESTINATION.holds(pacs, [each]) == {IMAGE}
    subject = Subject({"StudyInstanceUID": STUDY, "PatientID": "P1"}, {SERIES: (IMAGE,)})
    assert DESTINATION.records(pacs, subject, 5.0) == (StudyRecord(STUDY, "P1", "", "", frozenset({IMAGE})),)
    DESTINATION.close()


def test_who_is_not_there_is_told(tmp_path: Path) -> None:
    away = PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=free_port())
    each = an_object(tmp_path)
    for ask in (
        lambda: list(DESTINATION.send(away, [each], lambda size: None)),
        lambda: DESTINATION.holds(away, [each]),
        lambda: DESTINATION.records(away, Subject({"StudyInstanceUID": STUDY}, {}), 5.0),
    ):
        with pytest.raises(PeerError, match="connection refused"):
            ask()
