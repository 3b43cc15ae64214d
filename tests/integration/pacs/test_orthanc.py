"""Orthanc as the suites' PACS: it does what other suites take for granted."""

from __future__ import annotations

from pathlib import Path

import pytest
from peers import Orthanc, RedisServer, echoscu, free_port, program, storescu
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

pytestmark = pytest.mark.peer


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, str]:
    """A folder of two one-pixel CT images, and their Study Instance UID."""
    folder, study_uid, series_uid = tmp_path / "images", generate_uid(), generate_uid()
    folder.mkdir()
    for number in (1, 2):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, series_uid
        image.PatientID, image.PatientName, image.Modality, image.InstanceNumber = "P1", "Test^Peer", "CT", number
        image.Rows = image.Columns = image.SamplesPerPixel = 1
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation, image.PhotometricInterpretation = 15, 0, "MONOCHROME2"
        image.PixelData = b"\x00\x00"
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dcmwrite(folder / f"{number}.dcm", image, enforce_file_format=True)
    return folder, study_uid


def test_what_is_stored_can_be_listed_downloaded_and_forwarded(
    orthanc: Orthanc, study: tuple[Path, str], tmp_path: Path
) -> None:
    folder, study_uid = study
    assert echoscu(orthanc.dicom_port, called=orthanc.aet).returncode == 0

    sent = storescu(orthanc.dicom_port, folder, called=orthanc.aet)

    assert sent.returncode == 0, sent.stderr
    assert orthanc.studies() == [study_uid]
    assert [len(series) for series in orthanc.series_of(study_uid).values()] == [1]
    held = orthanc.instances(study_uid)
    assert {instance.modality for instance in held} == {"CT"}
    assert {orthanc.download(instance.id)[128:132] for instance in held} == {b"DICM"}
    other = Orthanc(tmp_path / "other", aet="OTHER")
    try:
        other.start()
        orthanc.know("other", other.aet, other.dicom_port)
        orthanc.store_to("other", study_uid)
        assert {i.sop_instance_uid for i in other.instances()} == {i.sop_instance_uid for i in held}
    finally:
        other.stop()


def test_it_keeps_what_it_has_over_a_restart(orthanc: Orthanc, study: tuple[Path, str]) -> None:
    folder, study_uid = study
    storescu(orthanc.dicom_port, folder, called=orthanc.aet)

    orthanc.stop()
    down = storescu(orthanc.dicom_port, folder, called=orthanc.aet)
    orthanc.start()

    assert down.returncode != 0
    assert len(orthanc.instances(study_uid)) == 2


def test_nobody_listens_on_a_free_port() -> None:
    assert echoscu(free_port(), called="NOBODY").returncode != 0


def test_redis_forgets_over_a_restart(redis_server: RedisServer) -> None:
    redis = pytest.importorskip("redis")
    redis.Redis.from_url(redis_server.url).set("key", "value")

    redis_server.stop()
    redis_server.start()

    assert redis.Redis.from_url(redis_server.url).get("key") is None


def test_a_program_that_is_missing_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed; apt-get install"):
        program("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed; apt-get install"):
        program("no-such-program")
