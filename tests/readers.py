"""Result objects as programs of others read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from peers import Instance, Orthanc, run_peer
from pydicom.dataset import Dataset

Points = npt.NDArray[np.float64]


def errors_of_dciodvfy(file: Path) -> list[str]:
    """The errors that dicom3tools' validator finds."""
    ran = run_peer("dciodvfy", "-new", file)
    lines = (ran.stdout + ran.stderr).splitlines()
    assert lines, "dciodvfy says nothing at all"  # it names at least the IOD
    return [line for line in lines if line.startswith("Error")]


def masks_of_dcmqi(file: Path, folder: Path) -> dict[int, Any]:
    """Segment number -> the mask as a SimpleITK image, as dcmqi's converter gives it."""
    import SimpleITK as sitk

    folder.mkdir()
    ran = run_peer("segimage2itkimage", "-t", "nrrd", "--inputDICOM", file, "--outputDirectory", folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    masks = {}
    for written in folder.glob("*.nrrd"):
        image = sitk.ReadImage(str(written))
        held = set(np.unique(sitk.GetArrayViewFromImage(image))) - {0}
        assert len(held) <= 1
        if held:  # an empty segment has a file, too
            masks[int(held.pop())] = image
    return masks


def voxels_of_mask(image: Any) -> Points:
    """Centres (LPS, mm) of the voxels that a SimpleITK mask holds, sorted."""
    import SimpleITK as sitk

    indices = np.argwhere(sitk.GetArrayViewFromImage(image))[:, ::-1]
    axes = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    return _sorted(np.array(image.GetOrigin()) + indices @ axes.T)


def voxels_of_seg(seg: Dataset) -> dict[int, Points]:
    """Segment number -> centres (LPS, mm) of the voxels of a binary SEG, each frame placed by its own geometry."""
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    shared = seg.SharedFunctionalGroupsSequence[0]
    found: dict[int, list[Points]] = {}
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
        between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        where = np.argwhere(frame)
        points = position + where[:, :1] * between_rows * column + where[:, 1:] * between_columns * row
        found.setdefault(number, []).append(points)
    return {number: _sorted(np.concatenate(points)) for number, points in found.items()}


def _sorted(points: Points) -> Points:
    # By whole tenths of a millimetre, so that rounding in a file changes no order.
    keys = np.round(points, 1) + 0.0
    return np.asarray(points[np.lexsort(keys.T)])


def measurements_of(sr: Dataset) -> dict[tuple[frozenset[int], str, str], tuple[float, str]]:
    """What a TID 1500 SR measures: (segment numbers, codes of concept and derivation or "") -> (value, UCUM unit)."""
    found = {}
    for group in _containers(sr, "125007"):
        segments: frozenset[int] = frozenset()
        for item in group.ContentSequence:
            if item.ValueType == "IMAGE" and "ReferencedSegmentNumber" in item.ReferencedSOPSequence[0]:
                numbers = item.ReferencedSOPSequence[0].ReferencedSegmentNumber
                segments = frozenset([int(numbers)] if isinstance(numbers, int) else map(int, numbers))
        for item in group.ContentSequence:
            if item.ValueType == "NUM":
                measured = item.MeasuredValueSequence[0]
                key = (segments, item.ConceptNameCodeSequence[0].CodeValue, _derivation(item))
                assert key not in found, f"measured twice: {key}"
                unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
                found[key] = (float(measured.NumericValue), unit)
    return found


def _containers(item: Dataset, code: str) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        if child.ValueType == "CONTAINER" and child.ConceptNameCodeSequence[0].CodeValue == code:
            yield child
        yield from _containers(child, code)


def _derivation(item: Dataset) -> str:
    for child in item.get("ContentSequence", ()):
        if child.ConceptNameCodeSequence[0].CodeValue == "121401":
            return str(child.ConceptCodeSequence[0].CodeValue)
    return ""


def results_in(pacs: Orthanc, study_uid: str) -> dict[str, list[Instance]]:
    """Modality -> instances of a study's results, SEG and SR, in the PACS."""
    held: dict[str, list[Instance]] = {"SEG": [], "SR": []}
    for instance in pacs.instances(study_uid):
        if instance.modality in held:
            held[instance.modality].append(instance)
    return held


def the_result(pacs: Orthanc, study_uid: str, folder: Path) -> tuple[Path, Path]:
    """The one SEG and the one SR of a study in the PACS, as files; there must be no other."""
    held = results_in(pacs, study_uid)
    assert {modality: len(found) for modality, found in held.items()} == {"SEG": 1, "SR": 1}
    paths = []
    for modality, (found,) in held.items():
        path = folder / f"{modality}.dcm"
        path.write_bytes(pacs.download(found.id))
        paths.append(path)
    return paths[0], paths[1]


def header(file: Path) -> Dataset:
    """An object without its pixels."""
    return pydicom.dcmread(file, stop_before_pixels=True)
