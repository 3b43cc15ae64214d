"""The same values in the other encoding."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dsutils import decode

from dicom_node.dimse import reencode
from dicom_node.dimse.reencode import EXPLICIT, IMPLICIT, data_set_in
from dicom_node.dimse.send import Sender
from dicom_node.domain.changes import Changes, Coercion
from dicom_node.domain.sending import OutgoingObject
from dicom_node.errors import NotDicomError
from dicom_node.settings import PeerSettings

PRIVATE = {0x00091010: ("MAKER", b"MAKER "), 0x00091001: (1.5, struct.pack("<d", 1.5))}


def _object(tmp_path: Path, archive_factory: Any, syntax: str) -> Path:
    image = archive_factory.image(1, PatientName="Müller^Jürg", PixelPaddingValue=-2000)
    image.add_new(0x00091010, "LO", "MAKER")
    image.add_new(0x00091001, "FD", 1.5)
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2", "1.2.3"
    image.ReferencedImageSequence = [item, Dataset()]
    path = tmp_path / "object.dcm"
    path.write_bytes(archive_factory.part10(image, syntax))
    return path


@pytest.mark.parametrize(("own", "other"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)])
def test_no_value_changes_there_and_back(tmp_path: Path, archive_factory: Any, own: str, other: str) -> None:
    path = _object(tmp_path, archive_factory, own)
    before = dcmread(path)
    with data_set_in(other, path) as file:
        encoded = file.read()
    after = decode(BytesIO(encoded), other == IMPLICIT, True)
    assert [element.tag for element in after.iterall()] == [element.tag for element in before.iterall()]
    for element in before:
        found = after[element.tag]
        if element.tag.is_private:  # implicit VR says nothing of these
            assert found.value in PRIVATE[element.tag]
        else:
            assert (found.VR, found.value) == (element.VR, element.value)
    assert after.PatientName == "Müller^Jürg"
    assert after.PixelPaddingValue == -2000


def test_a_peer_that_takes_the_default_transfer_syntax_alone_gets_it(tmp_path: Path, archive_factory: Any) -> None:
    path = _object(tmp_path, archive_factory, EXPLICIT)
    got: list[tuple[str, Dataset]] = []

    def keep(event: Any) -> int:
        got.append((str(event.context.transfer_syntax), event.dataset))
        return 0

    ae = AE("PACS")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.2", [IMPLICIT])
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    try:
        peer = PeerSettings(name="p", ae_title="PACS", host="127.0.0.1", port=server.socket.getsockname()[1])
        each = OutgoingObject(path, "1.2.840.10008.5.1.4.1.1.2", "1.2.3.1.1.1", EXPLICIT)
        (outcome,) = Sender().send(peer, "US", [each])
    finally:
        server.shutdown()
    assert outcome.ok, outcome
    ((syntax, dataset),) = got
    assert syntax == IMPLICIT
    assert dataset.PixelData == dcmread(path).PixelData
    assert dataset.PatientName == "Müller^Jürg"


def test_a_file_that_is_too_large_for_it_is_told(
    tmp_path: Path, archive_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _object(tmp_path, archive_factory, EXPLICIT)
    monkeypatch.setattr(reencode, "LARGEST", 100)
    with pytest.raises(NotDicomError, match="larger than 100 bytes"):
        data_set_in(IMPLICIT, path)


def test_what_is_changed_on_the_way_is_changed_here_too(tmp_path: Path, archive_factory: Any) -> None:
    path = _object(tmp_path, archive_factory, EXPLICIT)
    coercion = Coercion(Changes(prefix={"AccessionNumber": "X"}), "NODE", datetime(2026, 1, 1, tzinfo=UTC))
    with data_set_in(IMPLICIT, path, coercion) as file:
        after = decode(BytesIO(file.read()), True, True)
    assert after.AccessionNumber == "XA1"
    assert after.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].AccessionNumber == "A1"
