"""Deliveries to DICOMweb servers, with real ones, and to folders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from deliveries import bench_in
from peers import Orthanc, program

from dicom_node.archive.database import Database
from dicom_node.cli.peers import answer
from dicom_node.domain.parcel import ParcelState
from dicom_node.settings import PeerSettings


@pytest.fixture
def dicomweb(tmp_path: Path) -> Iterator[tuple[Orthanc, PeerSettings]]:
    """Orthanc with its DICOMweb plugin, and the entry of a peer for it."""
    program("Orthanc")
    server = Orthanc(tmp_path / "orthanc")
    peer = PeerSettings(name="pacs", kind="dicomweb", url=server.serve_dicomweb())
    try:
        server.start()
        yield server, peer
    finally:
        server.stop()


@pytest.mark.peer
def test_orthanc_takes_results_by_stow_rs_and_shows_them_by_qido_rs(
    database: Database, tmp_path: Path, dicomweb: tuple[Orthanc, PeerSettings]
) -> None:
    orthanc, peer = dicomweb
    bench = bench_in(database, tmp_path, peers=[peer])
    numbers = [bench.add(objects=3), bench.add(objects=70)]  # more than go into one request
    bench.run()
    for number in numbers:
        parcel = bench.parcel(number)
        assert (parcel.state, parcel.verification) == (ParcelState.PRESENT, "found by QIDO-RS"), parcel.error
    held = orthanc.instances()
    assert len(held) == 73
    sent = tmp_path / bench.parcel(numbers[0]).artifacts[0].path
    (stored,) = [each for each in held if each.sop_instance_uid == bench.parcel(numbers[0]).artifacts[0].sop_uid]
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(orthanc.download(stored.id))
    assert pydicom.dcmread(copy) == pydicom.dcmread(sent)
    assert answer(bench.settings, peer, 5)["good"]


@pytest.mark.peer
def test_what_orthanc_has_lost_is_sent_again(
    database: Database, tmp_path: Path, dicomweb: tuple[Orthanc, PeerSettings]
) -> None:
    orthanc, peer = dicomweb
    bench = bench_in(database, tmp_path, peers=[peer])
    number = bench.add()
    bench.lane._deliver(bench.parcels.due("pacs"), peer, set())
    orthanc.request("DELETE", f"/instances/{orthanc.instances()[0].id}")
    bench.run(4)
    assert (bench.parcel(number).state, bench.parcel(number).losses) == (ParcelState.PRESENT, 0)
    assert len(orthanc.instances()) == 2
    assert "parcel lost" in bench.told(number)


def test_a_folder_gets_whole_files_and_each_is_compared(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    peer = PeerSettings(name="pacs", kind="folder", folder=folder)
    bench = bench_in(database, tmp_path, peers=[peer])
    number = bench.add(objects=2)
    bench.run()
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.error["reason"]) == (ParcelState.DUE, "unreachable")  # it is never made by us
    folder.mkdir()
    bench.run()
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.verification) == (ParcelState.PRESENT, "found by its SHA-256"), parcel.error
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(Path(parcel.study_uid, made.series_uid, f"{made.sop_uid}.dcm") for made in parcel.artifacts)
    for made in parcel.artifacts:
        copy = pydicom.dcmread(folder / parcel.study_uid / made.series_uid / f"{made.sop_uid}.dcm")
        assert copy == pydicom.dcmread(tmp_path / made.path)
        assert copy.file_meta.TransferSyntaxUID == made.transfer_syntax
    assert answer(bench.settings, peer, 5)["good"]


def test_a_file_that_is_altered_in_a_folder_is_written_again(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    peer = PeerSettings(name="pacs", kind="folder", folder=folder)
    bench = bench_in(database, tmp_path, peers=[peer])
    number = bench.add(objects=1)
    bench.lane._deliver(bench.parcels.due("pacs"), peer, set())
    (file,) = folder.rglob("*.dcm")
    before = hashlib.sha256(file.read_bytes()).digest()
    file.write_bytes(file.read_bytes()[:-1])
    bench.run(4)
    assert bench.parcel(number).state == ParcelState.PRESENT
    assert hashlib.sha256(file.read_bytes()).digest() == before
