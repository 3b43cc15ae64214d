"""What DCMTK, pynetdicom and our own sender send is stored bit for bit."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from listening import AcceptorProcess, StoreSCP
from peers import run_peer, storescu, wait_until
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, StoragePresentationContexts, build_context
from pynetdicom.dsutils import split_dataset

from dicom_node.dimse import command
from dicom_node.dimse.associate import Association, Proposal
from dicom_node.dimse.send import Sender
from dicom_node.domain.sending import OutgoingObject
from dicom_node.reception.hints import HintListener

MR = "1.2.840.10008.5.1.4.1.1.4"
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
pytestmark = [pytest.mark.peer]


def data_set(path: Path) -> bytes:
    """What follows the file meta information."""
    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]


def outgoing(path: Path) -> OutgoingObject | None:
    """The file as our sender takes it; None for one whose meta information is not whole."""
    try:
        meta, offset = split_dataset(path)
    except (InvalidDicomError, ValueError):
        return None
    needed = ("FileMetaInformationGroupLength", "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID")
    if not all(meta.get(keyword) for keyword in needed) or "TransferSyntaxUID" not in meta:
        return None
    if offset != 144 + meta.FileMetaInformationGroupLength:
        return None
    return OutgoingObject(path, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)


def files_of(folders: Iterable[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def phantom(folder: Path, sop_class: str, number: int = 1) -> Path:
    """A small valid object."""
    data = Dataset()
    data.SOPClassUID = sop_class
    data.SOPInstanceUID = generate_uid()
    data.StudyInstanceUID = generate_uid()
    data.SeriesInstanceUID = generate_uid()
    data.PatientName = "Yamada^Tarou"
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{number}.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.data
def test_a_chest_ct_from_dcmtk(acceptor: AcceptorProcess, storescp: StoreSCP, test_data: Path) -> None:
    folder = test_data / "ct_chest_lungdx_A0002"
    images = sorted(folder.glob("*.dcm"))
    listener = HintListener(acceptor.store.places.hints)
    for port, called in ((acceptor.port, "DICOMNODE"), (storescp.port, "ANY-SCP")):
        sent = storescu(port, *images, called=called)
        assert sent.returncode == 0, sent.stderr

    # DCMTK encodes sequences anew before it sends, so what it sent is read off its own bit-preserving receiver
    expected = {split_dataset(path)[0].MediaStorageSOPInstanceUID: data_set(path) for path in storescp.files()}
    stored = acceptor.objects()
    assert len(stored) == len(expected) == 30
    for path, original in zip(stored, images, strict=True):
        read = pydicom.dcmread(path)
        assert data_set(path) == expected[read.SOPInstanceUID]
        assert read == pydicom.dcmread(original)
        assert read.file_meta.SourceApplicationEntityTitle == "STORESCU"
        assert json.loads(read.file_meta.PrivateInformation)["peer"] == "127.0.0.1"

    hints = wait_until(lambda: [hint for hint in listener.wait(1) if hint["kind"] == "association-ended"], "the hint")
    assert (hints[0]["objects"], hints[0]["aborted"], hints[0]["calling_ae"]) == (30, False, "STORESCU")
    listener.close()


@pytest.mark.data
def test_dcmtk_finds_no_fault_in_what_is_stored(acceptor: AcceptorProcess, test_data: Path) -> None:
    storescu(acceptor.port, *(test_data / "ct_chest_lungdx_A0002").glob("*.dcm"), called="DICOMNODE")
    paths = acceptor.objects()
    tested = run_peer("dcmftest", *paths)
    assert tested.returncode == 0, tested.stdout
    assert tested.stdout.count("yes:") == len(paths) == 30
    dumped = run_peer("dcmdump", "+P", "0002,0018", "+P", "0010,0020", paths[0])
    assert dumped.returncode == 0
    assert dumped.stderr == ""
    assert "DICOMNODE" in dumped.stdout


@pytest.mark.data
def test_every_transfer_syntax_and_odd_file_is_kept_as_sent(acceptor: AcceptorProcess, test_data: Path) -> None:
    paths = files_of(test_data / name for name in ("transfer_syntax_wg04", "pydicom_mixed", "enhanced_mr", "cxr_nih"))
    objects = [each for each in map(outgoing, paths) if each is not None]
    assert len({each.transfer_syntax_uid for each in objects}) >= 12
    outcomes = Sender().send(acceptor.peer, "STORESCU", objects)
    assert [(each.path.name, got.message) for each, got in zip(objects, outcomes, strict=True) if not got.ok] == []
    for each, path in zip(objects, acceptor.objects(), strict=True):
        assert data_set(path) == data_set(each.path), each.path
        meta, _ = split_dataset(path)
        assert meta.TransferSyntaxUID == each.transfer_syntax_uid
        assert meta.MediaStorageSOPInstanceUID == each.sop_instance_uid


@pytest.mark.data
def test_compressed_images_from_dcmtk(acceptor: AcceptorProcess, test_data: Path) -> None:
    proposals = {"J2KI": "-xw", "J2KR": "-xv", "JLSL": "-xt", "JLSN": "-xu", "JPLL": "-xs", "JPLY": "-xx", "RLE": "-xr"}
    folder = test_data / "transfer_syntax_wg04"
    paths = [path for suffix in proposals for path in sorted(folder.glob(f"*_{suffix}"))]
    assert len(paths) >= 20
    for path in paths:
        options = ["--required", proposals[path.name.split("_")[1]]]
        sent = storescu(acceptor.port, path, called="DICOMNODE", options=options)
        assert sent.returncode == 0, f"{path}: {sent.stderr}"
    for original, path in zip(paths, acceptor.objects(), strict=True):
        assert (
            pydicom.dcmread(path).file_meta.TransferSyntaxUID == pydicom.dcmread(original).file_meta.TransferSyntaxUID
        )
        assert pydicom.dcmread(path).PixelData == pydicom.dcmread(original).PixelData


@pytest.mark.parametrize("sop_class", [LABELMAP, "1.3.12.2.1107.5.9.1", "2.25.1234567890", "1.2.840.10008.5.1.4.1.1.5"])
def test_classes_that_few_know(acceptor: AcceptorProcess, tmp_path: Path, sop_class: str) -> None:
    path = phantom(tmp_path, sop_class)
    ae = AE("STORESCU")
    ae.add_requested_context(sop_class, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", acceptor.port, ae_title="DICOMNODE")
    assert association.is_established
    assert association.send_c_store(path).Status == 0
    association.release()
    (stored,) = acceptor.objects()
    assert data_set(stored) == data_set(path)
    assert pydicom.dcmread(stored).SOPClassUID == sop_class


def test_a_sender_in_the_usual_way_of_pynetdicom(acceptor: AcceptorProcess, tmp_path: Path) -> None:
    ae = AE("STORESCU")
    ae.requested_contexts = [build_context("1.2.840.10008.1.1"), *StoragePresentationContexts[:127]]
    association = ae.associate("127.0.0.1", acceptor.port, ae_title="DICOMNODE")
    assert [int(association.send_c_echo().Status) for _ in range(2)] == [0, 0]
    for number in range(300):
        path = phantom(tmp_path, MR, number)
        assert association.send_c_store(path).Status == 0
    association.release()
    assert len(acceptor.objects()) == 300
    first, second = acceptor.store.unsealed()
    assert (len(first.objects()), len(second.objects())) == (256, 44)


def test_many_sizes_over_several_associations(acceptor: AcceptorProcess, tmp_path: Path) -> None:
    chance = random.Random(7)
    objects = []
    for number in range(240):
        data = pydicom.dcmread(phantom(tmp_path, MR, number))
        data.add_new(
            0x00420011, "OB", chance.randbytes(2 * chance.choice([1, 50, 5000, 65_000, chance.randrange(200_000)]))
        )
        data.save_as(tmp_path / f"{number}.dcm")
        objects.append(outgoing(tmp_path / f"{number}.dcm"))
    whole = [each for each in objects if each is not None]
    with ThreadPoolExecutor(4) as pool:
        sent = pool.map(lambda part: Sender().send(acceptor.peer, "STORESCU", part), [whole[n::4] for n in range(4)])
        assert all(outcome.ok for outcomes in sent for outcome in outcomes)
    assert storescu(acceptor.port, *(each.path for each in whole), called="DICOMNODE").returncode == 0
    received = Counter(map(data_set, acceptor.objects()))
    assert received == Counter({data_set(each.path): 2 for each in whole})


def test_unknown_peers_and_wrong_titles_are_rejected(acceptor: AcceptorProcess, tmp_path: Path) -> None:
    path = phantom(tmp_path, MR)
    stranger = storescu(acceptor.port, path, called="DICOMNODE", calling="STRANGER")
    assert stranger.returncode != 0
    assert "Calling AE Title Not Recognized" in stranger.stderr
    lost = storescu(acceptor.port, path, called="ORTHANC")
    assert lost.returncode != 0
    assert "Called AE Title Not Recognized" in lost.stderr
    assert acceptor.objects() == []


def test_success_survives_a_kill(acceptor: AcceptorProcess, tmp_path: Path) -> None:
    path = phantom(tmp_path, MR)
    each = outgoing(path)
    assert each is not None
    (outcome,) = Sender().send(acceptor.peer, "STORESCU", [each])
    acceptor.kill()
    assert outcome.ok
    assert [data_set(stored) for stored in acceptor.objects()] == [data_set(path)]
    acceptor.start()
    assert Sender().send(acceptor.peer, "STORESCU", [each])[0].ok
    assert [path.parent.name for path in acceptor.objects()] == ["00000001", "00000002"]


def half_an_object(acceptor: AcceptorProcess) -> Association:
    """An association in the middle of an object."""
    association = Association(acceptor.peer, "STORESCU", [Proposal(MR, (ExplicitVRLittleEndian,))])
    request = command.request(command.C_STORE_RQ, MR, 1, sop_instance="1.2.3", has_data_set=True)
    association._socket.sendall(command.pdu(1, 3, request) + command.pdu(1, 0, b"x" * 100_000))
    wait_until(lambda: parts(acceptor), "the object to begin")
    return association


def parts(acceptor: AcceptorProcess) -> list[Path]:
    return list(acceptor.store.places.objects.rglob("*.part"))


def test_a_kill_in_the_middle_of_an_object_leaves_nothing(acceptor: AcceptorProcess, tmp_path: Path) -> None:
    each = outgoing(phantom(tmp_path, MR))
    assert each is not None
    association = half_an_object(acceptor)
    acceptor.kill()
    association.abort()
    assert acceptor.objects() == []
    acceptor.start()
    assert parts(acceptor) == []
    assert Sender().send(acceptor.peer, "STORESCU", [each])[0].ok


def test_an_abort_in_the_middle_of_an_object_leaves_nothing(acceptor: AcceptorProcess) -> None:
    half_an_object(acceptor).abort()
    wait_until(lambda: not parts(acceptor), "its end")
    assert acceptor.objects() == []


def test_a_full_disk_is_told_and_the_next_object_is_taken(small_disk: AcceptorProcess, tmp_path: Path) -> None:
    large = pydicom.dcmread(phantom(tmp_path, MR, 1))
    large.PixelData = b"\0" * 3_000_000
    large.Rows, large.Columns, large.BitsAllocated = 1000, 1500, 16
    large["PixelData"].VR = "OW"
    large.save_as(tmp_path / "large.dcm")
    small = phantom(tmp_path, MR, 2)
    objects = [each for each in (outgoing(tmp_path / "large.dcm"), outgoing(small)) if each is not None]
    first, second, third = Sender().send(small_disk.peer, "STORESCU", [*objects, objects[0]])
    assert (first.status, second.status, third.status) == (0xA700, 0x0000, 0xA700)
    assert [data_set(path) for path in small_disk.objects()] == [data_set(small)]
    assert list(small_disk.store.places.objects.rglob("*.part")) == []

    refused = storescu(small_disk.port, tmp_path / "large.dcm", called="DICOMNODE")
    assert refused.returncode == 0xA7
