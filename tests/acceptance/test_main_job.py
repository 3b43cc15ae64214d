"""The main job, whole: a study that a PACS sends comes back as one SEG and one SR which other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from installed_node import InstalledNode
from peers import Orthanc, run_peer, storescu, validate_sr
from pydicom.uid import generate_uid
from readers import (
    errors_of_dciodvfy,
    header,
    masks_of_dcmqi,
    measurements_of,
    the_result,
    voxels_of_mask,
    voxels_of_seg,
)

from dicom_node.demo import phantom

pytestmark = [pytest.mark.acceptance, pytest.mark.peer]

SAME_AS_SOURCE = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
VOLUME, ATTENUATION, MEAN = "118565006", "112031", "373098007"


@pytest.fixture(scope="module")
def real_ct(test_data: Path) -> Path:
    return test_data / "ct_chest_lungdx_A0002"


@pytest.fixture(scope="module")
def real_result(
    node: InstalledNode, pacs: Orthanc, real_ct: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path, Path]:
    """Story, SEG and SR of the real CT, which storescu sends to the PACS and to the node."""
    study_uid = str(header(real_ct / "1-01.dcm").StudyInstanceUID)
    files = sorted(real_ct.glob("*.dcm"))
    assert storescu(pacs.dicom_port, *files, called=pacs.aet).returncode == 0
    node.send(*files)
    told = node.await_story(study_uid, "delivered")
    return told, *the_result(pacs, study_uid, tmp_path_factory.mktemp("results"))


@pytest.mark.data
def test_a_real_ct_comes_back_as_one_seg_and_one_sr_in_its_study(
    real_result: tuple[dict[str, Any], Path, Path], real_ct: Path
) -> None:
    _, *files = real_result
    source = header(real_ct / "1-01.dcm")

    for file in files:
        result = header(file)
        told = {keyword: result.get(keyword) for keyword in SAME_AS_SOURCE if keyword in source or keyword in result}
        assert told == {keyword: source.get(keyword) for keyword in told}
        assert result.SeriesInstanceUID != source.SeriesInstanceUID
    assert header(files[0]).FrameOfReferenceUID == source.FrameOfReferenceUID


@pytest.mark.data
def test_validators_of_others_find_no_error(real_result: tuple[dict[str, Any], Path, Path]) -> None:
    _, seg, sr = real_result

    assert errors_of_dciodvfy(seg) == []
    assert errors_of_dciodvfy(sr) == []
    assert run_peer("dsrdump", sr).returncode == 0
    told = validate_sr(sr)
    assert "IOD validation complete" in told
    assert "Root Template Validation Complete" in told
    assert [line for line in told.splitlines() if line.startswith("Error")] == []


@pytest.mark.data
def test_dcmqi_reads_the_same_mask(real_result: tuple[dict[str, Any], Path, Path], tmp_path: Path) -> None:
    _, seg, _ = real_result

    read = masks_of_dcmqi(seg, tmp_path / "masks")
    written = voxels_of_seg(pydicom.dcmread(seg))

    assert set(read) == set(written) == {1, 2}
    for number, points in written.items():
        assert len(points) > 100_000  # a lung
        np.testing.assert_allclose(voxels_of_mask(read[number]), points, atol=0.01)


@pytest.mark.data
def test_the_report_tracks_the_segments_and_says_what_the_ledger_says(
    real_result: tuple[dict[str, Any], Path, Path],
) -> None:
    told, seg, sr = real_result
    (job,) = told["jobs"]
    reported = measurements_of(header(sr))

    made = {artifact["kind"]: artifact["sop_uid"] for artifact in job["artifacts"]}
    assert sorted(made) == ["ko", "sc", "seg", "sr"]
    assert (made["seg"], made["sr"]) == (header(seg).SOPInstanceUID, header(sr).SOPInstanceUID)
    dump = run_peer("dsrdump", sr).stdout
    for segment in header(seg).SegmentSequence:
        assert segment.TrackingUID in dump
    both = next(m for m in job["measurements"] if m["name"] == "volume" and len(m["of"]) == 2)
    value, unit = reported[frozenset((1, 2)), VOLUME, ""]
    assert value == pytest.approx(both["value"], rel=1e-6)
    assert unit == both["unit"] == "ml"
    assert 2000 < value < 9000  # the lungs of a grown person


@pytest.mark.data
def test_the_command_tells_how_the_result_came_to_be(
    node: InstalledNode, real_result: tuple[dict[str, Any], Path, Path]
) -> None:
    study_uid = real_result[0]["study_uid"]
    told = node.cli("studies", "show", study_uid)

    assert told["standing"] == "delivered"
    took = {stage["stage"]: stage["seconds"] for stage in told["stages"]}
    for stage in ("reception", "completion and rules", "queue", "worker", "worker: infer", "delivery: pacs"):
        assert took[stage] is not None and took[stage] >= 0, stage
    assert took["completion and rules"] >= 2  # the quiet period
    (job,) = told["jobs"]
    assert (job["model"], job["state"], job["attempt"]) == ("ct_lung_density", "done", 1)
    assert [chosen["instances"] for chosen in job["inputs"]] == [30]
    (emphysema,) = job["evaluations"]
    assert emphysema["presence"] == "not evaluated"
    assert "SliceThickness" in emphysema["reason"]
    assert all(Path(made["path"]).is_file() for made in job["artifacts"])
    shown = node.run("studies", "show", study_uid).stdout
    assert "results delivered to pacs" in shown
    assert "delivery: pacs" in shown


@pytest.mark.parametrize("acquisition", ["supine-head-first", "prone", "feet-first", "oblique"])
def test_the_numbers_are_those_of_the_phantom_however_the_patient_lies(
    node: InstalledNode, pacs: Orthanc, acquisition: phantom.Acquisition, tmp_path: Path
) -> None:
    computed = phantom.compute(acquisition=acquisition)
    files = phantom.write(computed, tmp_path / "ct")
    study_uid = str(header(files[0]).StudyInstanceUID)

    node.send(tmp_path / "ct")
    node.await_story(study_uid, "delivered")

    (job,) = node.cli("studies", "show", study_uid)["jobs"]
    shown = {(m["name"], tuple(m["of"])): m["value"] for m in job["measurements"]}
    seg, sr = the_result(pacs, study_uid, tmp_path)
    reported = measurements_of(header(sr))
    names = {"right": ("Right lung",), "left": ("Left lung",), "both": ("Right lung", "Left lung")}
    numbers = {"right": frozenset((1,)), "left": frozenset((2,)), "both": frozenset((1, 2))}
    for side, labels in names.items():
        true = getattr(computed.truth, side)
        assert shown["volume", labels] == pytest.approx(true.volume_ml, rel=0.01)
        assert shown["laa_950", labels] == pytest.approx(true.laa_950_percent, abs=0.5)
        in_report = {key[1:]: value for key, value in reported.items() if key[0] == numbers[side]}
        assert in_report[VOLUME, ""] == (pytest.approx(shown["volume", labels], rel=1e-6), "ml")
        assert in_report[ATTENUATION, MEAN][0] == pytest.approx(shown["mean_density", labels], rel=1e-6)
        percentages = [value for value, unit in in_report.values() if unit == "%"]
        assert percentages == [pytest.approx(shown["laa_950", labels], rel=1e-6)]
    assert len(header(seg).SegmentSequence) == 2


@pytest.mark.data
def test_a_pacs_that_forwards_what_it_has_gets_the_result(
    node: InstalledNode, pacs: Orthanc, real_ct: Path, tmp_path: Path
) -> None:
    study_uid, series_uid = generate_uid(), generate_uid()
    for file in sorted(real_ct.glob("*.dcm")):
        image = pydicom.dcmread(file)
        image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, series_uid
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.save_as(tmp_path / file.name)
    assert storescu(pacs.dicom_port, tmp_path, called=pacs.aet).returncode == 0

    pacs.store_to("node", study_uid)

    node.await_story(study_uid, "delivered")
    the_result(pacs, study_uid, tmp_path)
