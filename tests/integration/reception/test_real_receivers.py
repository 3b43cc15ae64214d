"""What we send arrives in DCMTK and Orthanc, over one association."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from listening import StoreSCP
from peers import Orthanc
from pydicom.dataset import Dataset
from pynetdicom.dsutils import split_dataset

from dicom_node.dimse.associate import echo
from dicom_node.dimse.find import find
from dicom_node.dimse.send import Sender
from dicom_node.domain.sending import OutgoingObject
from dicom_node.settings import PeerSettings

pytestmark = [pytest.mark.peer, pytest.mark.data]


def outgoing(path: Path) -> OutgoingObject:
    meta, _ = split_dataset(path)
    return OutgoingObject(path, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)


@pytest.fixture
def series(test_data: Path) -> list[OutgoingObject]:
    """A chest CT of 30 slices."""
    return [outgoing(path) for path in sorted((test_data / "ct_chest_lungdx_A0002").glob("*.dcm"))]


def test_dcmtk_receives_a_series_bit_for_bit(storescp: StoreSCP, series: list[OutgoingObject]) -> None:
    assert echo(storescp.peer, "DICOMNODE") > 0
    outcomes = Sender().send(storescp.peer, "DICOMNODE", series)
    assert [outcome.message for outcome in outcomes if not outcome.ok] == []
    received = {}
    for path in storescp.files():
        meta, offset = split_dataset(path)
        received[meta.MediaStorageSOPInstanceUID] = path.read_bytes()[offset:]
    for each in series:
        _, offset = split_dataset(each.path)
        assert received[each.sop_instance_uid] == each.path.read_bytes()[offset:]


def test_dcmtk_without_compression_refuses_only_what_is_compressed_with_loss(
    storescp: StoreSCP, test_data: Path, series: list[OutgoingObject]
) -> None:
    lossless, lossy = (outgoing(test_data / "transfer_syntax_wg04" / name) for name in ("CT1_J2KR", "CT1_J2KI"))
    decoded, refused, fine = Sender().send(storescp.peer, "DICOMNODE", [lossless, lossy, series[0]])
    assert decoded.ok
    assert (refused.ok, refused.status) == (False, None)
    assert "transfer syntax not supported" in refused.message
    assert fine.ok


def test_orthanc_receives_a_series_and_finds_it(orthanc: Orthanc, series: list[OutgoingObject]) -> None:
    peer = PeerSettings(name="pacs", ae_title=orthanc.aet, host="127.0.0.1", port=orthanc.dicom_port)
    assert echo(peer, "DICOMNODE") > 0
    outcomes = Sender().send(peer, "DICOMNODE", [*series, *series[:2]])
    assert [outcome.message for outcome in outcomes if not outcome.ok] == []

    first = pydicom.dcmread(series[0].path, stop_before_pixels=True)
    keys = Dataset()
    keys.PatientID = first.PatientID
    keys.StudyInstanceUID = ""
    keys.NumberOfStudyRelatedInstances = ""
    (study,) = find(peer, "DICOMNODE", keys, "STUDY")
    assert study.StudyInstanceUID == first.StudyInstanceUID
    assert study.NumberOfStudyRelatedInstances == len(series) == 30

    keys = Dataset()
    keys.StudyInstanceUID, keys.SeriesInstanceUID, keys.SOPInstanceUID = (
        first.StudyInstanceUID,
        first.SeriesInstanceUID,
        "",
    )
    found = find(peer, "DICOMNODE", keys, "IMAGE")
    assert {match.SOPInstanceUID for match in found} == {each.sop_instance_uid for each in series}
