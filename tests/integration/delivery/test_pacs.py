"""Deliveries to Orthanc and to DCMTK's receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deliveries import bench_in
from listening import StoreSCP
from peers import Orthanc, end, wait_until
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from sqlalchemy import update

from dicom_node.archive import events
from dicom_node.archive.database import Database
from dicom_node.archive.schema import artifact
from dicom_node.delivery.courier import Courier
from dicom_node.domain.parcel import ParcelState

pytestmark = pytest.mark.peer


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[StoreSCP]:
    server = StoreSCP(tmp_path / "storescp")
    server.start()
    yield server
    if server.process is not None:
        end(server.process)


def test_what_orthanc_took_is_found_there_and_what_is_deleted_comes_back(
    database: Database, tmp_path: Path, orthanc: Orthanc
) -> None:
    bench = bench_in(database, tmp_path, orthanc.dicom_port)
    kept, gone = bench.add(), bench.add(objects=3)
    bench.lane.run("pacs")
    assert bench.parcels.counts() == {"present": 2}
    assert bench.parcel(kept).verification == "found by C-FIND"
    before = {held.sop_instance_uid for held in orthanc.instances()}
    assert len(before) == 5

    bench.parcels.retry(gone, "admin")
    bench.lane._deliver(bench.parcels.due("pacs"), bench.settings.peers[0], set())
    (lost,) = [held for held in orthanc.instances() if held.sop_instance_uid == min(bench.parcel(gone).taken)]
    orthanc.request("DELETE", f"/instances/{lost.id}")
    bench.run(3)  # it is looked for three times before it counts as gone
    assert bench.parcel(gone).missing[0].sop_uid == lost.sop_instance_uid
    bench.run()
    assert bench.parcel(gone).state == ParcelState.PRESENT
    assert {held.sop_instance_uid for held in orthanc.instances()} == before


def test_a_receiver_that_answers_no_query_is_left_with_its_word(
    database: Database, tmp_path: Path, storescp: StoreSCP
) -> None:
    bench = bench_in(database, tmp_path, storescp.port)
    number = bench.add()
    bench.lane.run("pacs")
    parcel = bench.parcel(number)
    assert parcel.state == ParcelState.SENT
    assert parcel.verification.startswith("sent, cannot be verified: PACS at 127.0.0.1")
    assert len(storescp.files()) == 2


def test_a_pacs_that_is_down_gets_everything_when_it_is_up_and_delays_no_other(
    database: Database, tmp_path: Path, orthanc: Orthanc, storescp: StoreSCP
) -> None:
    bench = bench_in(database, tmp_path, orthanc.dicom_port, storescp.port)
    courier = Courier(bench.settings, bench.parcels, bench.destinations)
    orthanc.stop()
    late, early = bench.add("pacs"), bench.add("other")
    courier.tick()
    wait_until(lambda: bench.parcel(early).state == ParcelState.SENT, "the other peer to be served")
    wait_until(lambda: bench.parcel(late).error, "the failure to be told")
    assert bench.parcel(late).error["reason"] == "refused"
    orthanc.start()
    bench.parcels.retry(late, "admin")
    assert wait_until(lambda: courier.tick() or bench.parcel(late).state == ParcelState.PRESENT, "it to arrive")
    wait_until(lambda: bench.parcel(late).state == ParcelState.PRESENT, "it to be found")
    courier.close()
    assert len(orthanc.instances()) == 2


def test_a_receiver_of_implicit_vr_alone_gets_what_is_compressed_without_loss_decoded(
    database: Database, tmp_path: Path
) -> None:
    server = StoreSCP(tmp_path / "storescp", options=("--bit-preserving", "--implicit"))
    server.start()
    try:
        bench = bench_in(database, tmp_path, server.port)
        number = bench.add(objects=1)
        (made,) = bench.parcel(number).artifacts
        file = tmp_path / made.path
        plain = dcmread(file)
        pixels = plain.PixelData
        plain.compress(RLELossless, generate_instance_uid=False)
        plain.save_as(file)
        kept = file.read_bytes()
        with database.write() as connection:
            connection.execute(update(artifact).values(transfer_syntax=RLELossless))
        bench.lane.run("pacs")
    finally:
        if server.process is not None:
            end(server.process)
    assert bench.parcel(number).state == ParcelState.SENT
    (stored,) = server.files()
    arrived = dcmread(stored)
    assert arrived.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert (arrived.PixelData, arrived.SOPInstanceUID) == (pixels, made.sop_uid)
    assert file.read_bytes() == kept
    (told,) = [each.detail for each in events.since(database, 0) if each.kind == "parcel sent"]
    assert "decoded without loss from RLE Lossless" in told["how"]
