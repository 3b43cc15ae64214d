"""A disk that fills up, and has room again: a tmpfs of some megabytes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from listening import AcceptorProcess
from peers import end, storescu, unavailable
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom.dsutils import split_dataset

from dicom_node.dimse.associate import Association, Proposal, echo
from dicom_node.errors import PeerError

MR = "1.2.840.10008.5.1.4.1.1.4"
PROPOSAL = Proposal(MR, (str(ExplicitVRLittleEndian),))
WHOLE = 12_000_000  # bytes of the disk
pytestmark = [pytest.mark.peer]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one."""
    if os.geteuid() != 0:
        unavailable("a small disk cannot be mounted", "run the tests as root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={WHOLE}", "tests", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        unavailable("a small disk cannot be mounted", "run the tests where mount is allowed (CAP_SYS_ADMIN)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def node(tmp_path: Path, disk: Path) -> Iterator[AcceptorProcess]:
    """Its objects are on the small disk, of which 4 MB should stay free."""
    environment = {"DICOM_NODE__NODE__LEAST_FREE_BYTES": "4000000"}
    started = AcceptorProcess(tmp_path / "node", data_dir=disk / "data", environment=environment)
    started.start()
    yield started
    if started.process is not None:
        end(started.process)


def image(folder: Path, size: int) -> Path:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = MR, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.add_new(0x00420011, "OB", os.urandom(size))
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{data.SOPInstanceUID}.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


def data_set(path: Path) -> bytes:
    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]


def store(association: Association, path: Path) -> int | None:
    _, offset = split_dataset(path)
    with path.open("rb") as file:
        file.seek(offset)
        association.store(1, MR, path.stem, file)
    return association.response()[0].number(0x0900)


def test_it_fills_up_and_recovers(node: AcceptorProcess, disk: Path, tmp_path: Path) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * 5_000_000)
    images = [image(tmp_path, 900_000) for _ in range(12)]
    with Association(node.peer, "STORESCU", [PROPOSAL]) as association:
        statuses = [store(association, path) for path in images]
        kept = [path for path, status in zip(images, statuses, strict=True) if status == 0]
        assert set(statuses) == {0, 0xA700}
        assert len(kept) >= 5
        assert [data_set(path) for path in node.objects()] == [data_set(path) for path in kept]
        assert list(node.store.places.objects.rglob("*.part")) == []

        with pytest.raises(PeerError, match="local limit exceeded") as raised:
            echo(node.peer, "STORESCU")
        assert raised.value.reason == "rejected"
        assert "MB of the disk are free" in node.log()
        assert "Local Limit Exceeded" in storescu(node.port, images[0], called="DICOMNODE").stderr

        ballast.unlink()
        assert store(association, images[-1]) == 0
    assert storescu(node.port, images[0], called="DICOMNODE").returncode == 0
    assert [data_set(path) for path in node.objects()[len(kept) :]] == [data_set(images[-1]), data_set(images[0])]


def test_it_starts_on_a_full_disk_and_recovers(node: AcceptorProcess, disk: Path, tmp_path: Path) -> None:
    path = image(tmp_path, 100_000)
    association = Association(node.peer, "STORESCU", [PROPOSAL])
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    assert [store(association, path) for _ in range(3)] == [0xA700] * 3
    ballast.unlink()
    assert [store(association, path) for _ in range(3)] == [0] * 3
    association.release()
    assert [data_set(stored) for stored in node.objects()] == [data_set(path)] * 3
