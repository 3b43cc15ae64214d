from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pydicom
import pytest

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.header import check_seal
from dicom_node.dimse.inbound import InboundAssociation, InboundObject
from dicom_node.reception.hints import HintListener, Hints
from dicom_node.reception.store import FileStoreService
from dicom_node.settings import NodeSettings

ASSOCIATION = InboundAssociation("a1b2", "SCANNER", "DICOMNODE", "10.0.0.5")
INBOUND = InboundObject(b"1.2.840.10008.5.1.4.1.1.2", b"1.2.3", "1.2.840.10008.1.2.1", ASSOCIATION)
DATA_SET = b"\x08\x00\x60\x00CS\x02\x00CT" + b"\x20\x00\x10\x00SH\x04\x00abcd"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path)


@pytest.fixture
def listener(store: ObjectStore) -> Iterator[HintListener]:
    receiver = HintListener(store.places.hints)
    yield receiver
    receiver.close()


@pytest.fixture
def service(store: ObjectStore, listener: HintListener) -> Iterator[FileStoreService]:
    hints = Hints(store.places.hints)
    yield FileStoreService(store.writer("a0"), hints)
    hints.close()


def objects(store: ObjectStore) -> list[Path]:
    return [path for segment in store.unsealed() for path in segment.objects()]


def test_an_object_is_its_receipt_and_its_data_set(
    store: ObjectStore, service: FileStoreService, listener: HintListener
) -> None:
    sink = service.begin(INBOUND)
    sink.write([DATA_SET[:5]])
    sink.write([DATA_SET[5:10], memoryview(DATA_SET[10:])])
    assert objects(store) == []
    assert listener.wait(0) == []
    sink.commit()
    assert listener.wait(5) == [{"kind": "stored"}]
    (path,) = objects(store)
    assert path.read_bytes().endswith(DATA_SET)
    read = pydicom.dcmread(path)
    assert (read.Modality, read.StudyID) == ("CT", "abcd")
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    receipt = json.loads(read.file_meta.PrivateInformation)
    assert (receipt["peer"], receipt["association"]) == ("10.0.0.5", "a1b2")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(receipt["received"])) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("follow", "commit", "sealed"), [(True, "auto", True), (True, "portable", False), (False, "auto", False)]
)
def test_with_a_single_flush_the_file_says_that_it_is_whole(
    follow: bool, commit: Literal["auto", "portable"], sealed: bool, store: ObjectStore, listener: HintListener
) -> None:
    writer = store.writer("a0")
    writer.names_follow_files = follow
    service = FileStoreService(writer, Hints(store.places.hints), NodeSettings(commit=commit))
    sink = service.begin(INBOUND)
    sink.write([DATA_SET[:5]])
    sink.write([memoryview(DATA_SET[5:])])
    sink.commit()
    (path,) = objects(store)
    told = json.loads(pydicom.dcmread(path).file_meta.PrivateInformation)
    assert told.get("seal") == (f"{len(DATA_SET):015d}-{zlib.crc32(DATA_SET):08x}" if sealed else None)
    check_seal(path)


def test_a_discarded_object_leaves_nothing(store: ObjectStore, service: FileStoreService) -> None:
    sink = service.begin(INBOUND)
    sink.write([DATA_SET])
    sink.discard()
    assert objects(store) == []
    assert list(store.places.objects.rglob("*.part")) == []


@pytest.mark.parametrize(
    ("limits", "is_full"),
    [
        ({"least_free_bytes": 0}, False),
        ({"least_free_bytes": 10**18}, True),
        ({"least_free_bytes": 0, "least_free_percent": 99.99}, True),
    ],
)
def test_the_disk_has_a_high_mark(store: ObjectStore, limits: dict[str, float], is_full: bool) -> None:
    service = FileStoreService(store.writer("a0"), Hints(store.places.hints), NodeSettings.model_validate(limits))
    assert ("of the disk are free" in service.full()) == is_full


def test_the_end_of_an_association_is_told(service: FileStoreService, listener: HintListener) -> None:
    service.association_ended(ASSOCIATION, 7, aborted=True)
    (hint,) = listener.wait(5)
    assert hint == {
        "kind": "association-ended",
        "association": "a1b2",
        "calling_ae": "SCANNER",
        "called_ae": "DICOMNODE",
        "peer": "10.0.0.5",
        "objects": 7,
        "aborted": True,
    }
