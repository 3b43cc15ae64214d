"""The same values in the other encoding."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.dsutils import decode

from dicom_node.dimse import reencode
from dicom_node.dimse.reencode import EXPLICIT, IMPLICIT, OTHERS, data_set_in
from dicom_node.dimse.send import Sender
from dicom_node.domain.changes import Changes, Coercion
from dicom_node.domain.sending import OutgoingObject
from dicom_node.errors import NotDicomError
from dicom_node.settings import PeerSettings

DEFLATED = "1.2.840.10008.1.2.1.99"
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


def _compressed(tmp_path: Path, archive_factory: Any, syntax: str) -> tuple[Path, Any]:
    """An object whose frame holds every value of 16 signed bits; the file, and its pixels."""
    image = archive_factory.image(1)
    image.Rows, image.Columns, image.SamplesPerPixel = 256, 256, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    pixels = np.arange(-(2**15), 2**15, dtype="<i2").reshape(256, 256)
    path = tmp_path / "object.dcm"
    image.PixelData = pixels.tobytes()
    path.write_bytes(archive_factory.part10(image, EXPLICIT))
    read = dcmread(path)
    if syntax == DEFLATED:
        read.file_meta.TransferSyntaxUID = DEFLATED
    else:
        read.compress(syntax, generate_instance_uid=False)
    read.save_as(path)
    return path, pixels


@pytest.mark.parametrize("other", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("own", [RLELossless, JPEGLSLossless, JPEG2000Lossless, DEFLATED])
def test_lossless_pixels_are_decoded_to_the_bit(tmp_path: Path, archive_factory: Any, own: str, other: str) -> None:
    path, pixels = _compressed(tmp_path, archive_factory, own)
    before = path.read_bytes()
    with data_set_in(other, path) as file:
        after = decode(BytesIO(file.read()), other == IMPLICIT, True)
    assert np.array_equal(np.frombuffer(after.PixelData, "<i2").reshape(256, 256), pixels)
    assert after.SOPInstanceUID == dcmread(path).SOPInstanceUID
    assert path.read_bytes() == before


def test_what_is_compressed_with_loss_has_no_other_encoding() -> None:
    lossy = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K, MPEG2MPML)
    assert not set(lossy) & set(OTHERS)
    compressed = set(OTHERS) - {IMPLICIT, EXPLICIT, DEFLATED}
    assert all("Lossless" in UID(syntax).name or "Process 14" in UID(syntax).name for syntax in compressed)


def test_a_frame_that_cannot_be_decoded_is_told(tmp_path: Path, archive_factory: Any) -> None:
    path, _ = _compressed(tmp_path, archive_factory, JPEG2000Lossless)
    read = dcmread(path)
    read.PixelData = read.PixelData[:100] + bytes(len(read.PixelData) - 100)
    read.save_as(path)
    with pytest.raises(NotDicomError, match="cannot be encoded anew"):
        data_set_in(EXPLICIT, path)


def test_a_peer_without_compression_gets_it_decoded_and_that_is_said(tmp_path: Path, archive_factory: Any) -> None:
    path, pixels = _compressed(tmp_path, archive_factory, JPEG2000Lossless)
    got: list[tuple[str, Dataset]] = []

    def keep(event: Any) -> int:
        got.append((str(event.context.transfer_syntax), event.dataset))
        return 0

    ae = AE("PACS")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.2", [IMPLICIT, EXPLICIT])
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    try:
        peer = PeerSettings(name="p", ae_title="PACS", host="127.0.0.1", port=server.socket.getsockname()[1])
        each = OutgoingObject(path, "1.2.840.10008.5.1.4.1.1.2", "1.2.3.1.1.1", JPEG2000Lossless)
        (outcome,) = Sender().send(peer, "US", [each])
    finally:
        server.shutdown()
    assert outcome.ok, outcome
    assert outcome.note.startswith("sent in Explicit VR Little Endian, decoded without loss from JPEG 2000")
    ((syntax, dataset),) = got
    assert syntax == EXPLICIT
    assert dataset.PixelData == pixels.tobytes()


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
