from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO

import pydicom
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.archive.receipt import Receipt, association_in, file_meta, seal, seal_at
from dicom_node.domain.identifiers import IMPLEMENTATION_CLASS_UID, RECEIPT_CREATOR_UID

CT = b"1.2.840.10008.5.1.4.1.1.2"
RECEIPT = Receipt("SCANNER", "DICOMNODE", "10.0.0.5", "a1b2", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def read(meta: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(BytesIO(meta), force=False)


def test_a_reader_finds_the_receipt() -> None:
    meta = read(file_meta(CT, b"1.2.3", ExplicitVRLittleEndian, RECEIPT)).file_meta
    assert meta.MediaStorageSOPClassUID == CT.decode()
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.SourceApplicationEntityTitle == meta.SendingApplicationEntityTitle == "SCANNER"
    assert meta.ReceivingApplicationEntityTitle == "DICOMNODE"
    assert meta.PrivateInformationCreatorUID == RECEIPT_CREATOR_UID
    assert json.loads(meta.PrivateInformation) == {
        "peer": "10.0.0.5",
        "association": "a1b2",
        "received": "2026-01-02T03:04:05.000+00:00",
    }


@given(
    sop_instance=st.binary(max_size=200),
    calling=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    peer=st.text(max_size=60),
)
def test_any_identifier_gives_a_group_whose_length_is_right(sop_instance: bytes, calling: str, peer: str) -> None:
    receipt = Receipt(calling, "DICOMNODE", peer, "a1b2", RECEIPT.received)
    meta = file_meta(CT, sop_instance, ExplicitVRLittleEndian, receipt)
    length = int.from_bytes(meta[140:144], "little")
    assert len(meta) == 144 + length
    assert length % 2 == 0
    assert json.loads(read(meta).file_meta.PrivateInformation)["peer"] == peer
    if b'"' not in sop_instance:
        assert association_in(meta) == "a1b2"
        assert association_in(file_meta(CT, sop_instance, ExplicitVRLittleEndian)) == ""


@given(peer=st.text(max_size=60), size=st.integers(0, 10**15 - 1), crc=st.integers(0, 2**32 - 1))
def test_the_seal_has_its_place_whatever_the_peer_is_called(peer: str, size: int, crc: int) -> None:
    receipt = Receipt("SCANNER", "DICOMNODE", peer, "a1b2", RECEIPT.received, sealed=True)
    meta = bytearray(file_meta(CT, b"1.2.3", ExplicitVRLittleEndian, receipt))
    at, stamped = seal_at(meta), seal(size, crc)
    meta[at : at + len(stamped)] = stamped
    told = json.loads(read(bytes(meta)).file_meta.PrivateInformation)
    assert told["seal"] == f"{size:015d}-{crc:08x}"
    assert told["peer"] == peer


def test_times_of_another_zone_are_written_in_utc() -> None:
    there = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=9)))
    meta = file_meta(CT, b"1.2.3", ExplicitVRLittleEndian, Receipt("A", "B", "p", "a", there))
    told = json.loads(read(meta).file_meta.PrivateInformation)
    assert told["received"] == "2026-01-01T18:04:05.000+00:00"
