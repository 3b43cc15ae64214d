"""A worklist is asked by accession number."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import end, free_port, program, wait_until
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from dicom_node.dimse.worklist import MODALITY_WORKLIST_FIND, WorklistItem, issuer_in, items
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings


def entry(accession: str, priority: str, issuer: str = "") -> Dataset:
    """An item of a worklist."""
    item, step = Dataset(), Dataset()
    item.SpecificCharacterSet = "ISO_IR 100"
    item.AccessionNumber, item.RequestedProcedurePriority = accession, priority
    item.PatientName, item.PatientID, item.PatientBirthDate, item.PatientSex = "Doe^Jane", "P1", "19700101", "F"
    item.StudyInstanceUID, item.RequestedProcedureID = f"1.2.3.{len(accession)}", "R1"
    item.RequestedProcedureDescription = "CT chest"
    if issuer:
        issued = Dataset()
        issued.LocalNamespaceEntityID = issuer
        item.IssuerOfAccessionNumberSequence = [issued]
    step.Modality, step.ScheduledStationAETitle = "CT", "CT1"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20260301", "080000"
    step.ScheduledPerformingPhysicianName = "Roe^Richard"
    step.ScheduledProcedureStepDescription, step.ScheduledProcedureStepID = "CT chest", "S1"
    item.ScheduledProcedureStepSequence = [step]
    return item


@pytest.fixture
def wlmscpfs(tmp_path: Path) -> Iterator[PeerSettings]:
    """DCMTK's worklist server with two orders."""
    folder = tmp_path / "worklist" / "RIS"
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    for name, item in (("a1", entry("A1", "STAT")), ("a22", entry("A22", "LOW"))):
        item.file_meta = FileMetaDataset()
        item.file_meta.MediaStorageSOPClassUID = MODALITY_WORKLIST_FIND
        item.file_meta.MediaStorageSOPInstanceUID = item.StudyInstanceUID
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dcmwrite(folder / f"{name}.wl", item, enforce_file_format=True)
    port = free_port()
    with (tmp_path / "wlmscpfs.log").open("wb") as log:
        command = [program("wlmscpfs"), "--debug", "--data-files-path", str(folder.parent), str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    peer = PeerSettings(name="ris", ae_title="RIS", host="127.0.0.1", port=port)

    def answers() -> bool:
        try:
            items(peer, "SCU", "none")
        except PeerError:
            return False
        return True

    try:
        wait_until(answers, f"wlmscpfs to answer, see {tmp_path / 'wlmscpfs.log'}")
        yield peer
    finally:
        end(server)


@pytest.mark.peer
def test_a_real_worklist_tells_the_priority_of_an_order(wlmscpfs: PeerSettings) -> None:
    assert [(item.accession_number, item.patient_id, item.priority) for item in items(wlmscpfs, "SCU", "A1")] == [
        ("A1", "P1", "STAT")
    ]
    assert [item.priority for item in items(wlmscpfs, "SCU", "A22")] == ["LOW"]
    assert items(wlmscpfs, "SCU", "A3") == ()


def test_the_issuer_is_told_apart_and_absent_values_are_empty() -> None:
    def answer(event: Any) -> Any:
        assert event.identifier.AccessionNumber == "A1"
        yield 0xFF00, entry("A1", "HIGH", issuer="HIS")
        bare = Dataset()
        bare.AccessionNumber = "A1"
        yield 0xFF01, bare
        yield 0x0000, None

    ae = AE("RIS")
    ae.add_supported_context(MODALITY_WORKLIST_FIND)
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_FIND, answer)])
    try:
        found = items(PeerSettings(name="ris", ae_title="RIS", host="127.0.0.1", port=port), "SCU", "A1")
    finally:
        server.shutdown()
    assert found == (WorklistItem("A1", "HIS", "P1", "HIGH"), WorklistItem("A1", "", "", ""))


def test_a_peer_without_a_worklist_is_named() -> None:
    with pytest.raises(PeerError, match="RIS at"):
        items(PeerSettings(name="ris", ae_title="RIS", host="127.0.0.1", port=free_port()), "SCU", "A1")


def test_a_file_that_says_no_issuer_or_is_none_has_none(tmp_path: Path, archive: Any) -> None:
    (tmp_path / "text").write_text("no DICOM")
    assert issuer_in(tmp_path / "text") == ""
    assert issuer_in(tmp_path / "absent") == ""
    assert issuer_in(archive.put(archive.image(1))) == ""
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "HIS"
    assert issuer_in(archive.put(archive.image(1, IssuerOfAccessionNumberSequence=[issuer]))) == "HIS"
