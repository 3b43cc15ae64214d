"""Real peers that do not take label maps: Orthanc 1.10, and DCMTK's receiver with a list of what it takes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from deliveries import Bench
from encoding_workers import DIGEST, encode_all, images, worker
from listening import StoreSCP, association_profile
from peers import Orthanc, end
from readers import errors_of_dciodvfy
from studies_of_results import Clinic

from dicom_node.archive.database import Database
from dicom_node.domain.job import JobState
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.profile import Profile
from dicom_node.settings import DeliverySettings, NodeSettings, PeerSettings, Settings

pytestmark = pytest.mark.peer

BINARY, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
SR = "1.2.840.10008.5.1.4.1.1.88.34"
EXPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"


def bench_for(clinic: Clinic, port: int, **entry: Any) -> Bench:
    """A result as a label map on its way to a peer that gets BINARY when it refuses that."""
    given = {"ae_title": "PACS", "host": "127.0.0.1", "results": ("labelmap", "binary"), **entry}
    peer = PeerSettings(name="pacs", port=port, **given)
    delivery = DeliverySettings(verify_after_seconds=0, timeout_seconds=20)
    settings = Settings(node=NodeSettings(data_dir=clinic.data_dir), peers=(peer,), delivery=delivery)
    taken = clinic.arrive(images())
    clinic.commit(clinic.plan(model_digest=DIGEST, destinations=("pacs",)), taken, profile=Profile.LABELMAP)
    return Bench(clinic.database, settings)


def test_orthanc_refuses_the_label_map_and_has_the_result_once(
    database: Database, tmp_path: Path, orthanc: Orthanc
) -> None:
    orthanc.stop()
    orthanc.options["UnknownSopClassAccepted"] = False  # as it is where nobody has configured it otherwise
    orthanc.start()
    clinic = Clinic(database, tmp_path)
    bench = bench_for(clinic, orthanc.dicom_port, ae_title=orthanc.aet)
    bench.run()
    assert not orthanc.instances(), "no report is there without its Segmentation"
    (refused,) = bench.parcels.all()
    assert refused.error is not None
    assert "does not take SOP class 1.2.840.10008.5.1.4.1.1.66.7" in refused.error["message"]

    # A worker is lost in the middle of it, and wakes up when another one has done it.
    (waiting,) = clinic.ledger.jobs(states=(JobState.QUEUED,))
    lost = clinic.ledger.claim(waiting.id, "box:1", 0.0)
    assert lost is not None
    clinic.ledger.expire()
    assert worker(clinic, bench.settings).run(waiting.id) == "done"
    assert not clinic.ledger.heartbeat(lost, 60, "encode")

    bench.run(2)
    assert clinic.states() == [("pacs", ParcelState.CANCELLED), ("pacs", ParcelState.PRESENT)]
    held = [pydicom.dcmread(BytesIO(orthanc.download(each.id))) for each in orthanc.instances()]
    assert sorted(each.SOPClassUID for each in held) == [BINARY, SR]
    kept = {made.sop_uid for made in bench.parcels.all()[1].artifacts}
    assert {each.SOPInstanceUID for each in held} == kept
    assert clinic.standings() == ["reissued", "current"]
    for made in bench.parcels.all()[1].artifacts:
        assert not errors_of_dciodvfy(tmp_path / made.path)


@pytest.mark.parametrize(
    ("takes", "arrives"),
    [
        ({BINARY: [EXPLICIT], SR: [EXPLICIT]}, BINARY),
        ({LABELMAP: [RLE], SR: [EXPLICIT]}, LABELMAP),
        ({LABELMAP: [EXPLICIT], SR: [EXPLICIT]}, LABELMAP),
        ({LABELMAP: ["1.2.840.10008.1.2.4.80"], BINARY: [EXPLICIT], SR: [EXPLICIT]}, BINARY),
    ],
    ids=["no such class", "as it is", "decoded", "no such transfer syntax"],
)
def test_a_receiver_gets_what_it_lists(
    database: Database, tmp_path: Path, takes: dict[str, list[str]], arrives: str
) -> None:
    clinic = Clinic(database, tmp_path)
    profile = tmp_path / "storescp.cfg"
    profile.write_text(association_profile(takes))
    server = StoreSCP(tmp_path / "received", options=("--bit-preserving", "-xf", str(profile), "Results"))
    server.start()
    try:
        bench = bench_for(clinic, server.port, check=False, verify="none")
        bench.run()
        encode_all(clinic, bench.settings)
        bench.run()
    finally:
        if server.process is not None:
            end(server.process)
    found = {str(pydicom.dcmread(file).SOPClassUID) for file in server.files()}
    assert found == {arrives, SR}
    assert [parcel.state for parcel in bench.parcels.all()][-1] == ParcelState.SENT
