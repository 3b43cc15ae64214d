"""Several volumes in one series: the one the role selects, or a refusal that lists them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_series import ct_series, enhanced, write
from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage

from dicom_node.domain.contract import Selection
from dicom_node.errors import DicomNodeError
from workers.inference.volume import Volume, load_volume

LOW, HIGH = np.full((4, 6, 6), 100, np.int16), np.full((4, 6, 6), 900, np.int16)


def mr(stored: np.ndarray, number: int, **attributes: Any) -> list[Dataset]:
    images = ct_series(stored)
    for index, image in enumerate(images):
        image.Modality, image.RescaleIntercept = "MR", 0
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.7.{number}.{index + 1}"
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
    return images


def load(images: list[Dataset], folder: Path, *select: str) -> Volume:
    return load_volume(write(images, folder), select=[Selection.parse(text) for text in select])


def refused(images: list[Dataset], folder: Path, *select: str) -> DicomNodeError:
    with pytest.raises(DicomNodeError) as raised:
        load(images, folder, *select)
    return raised.value


@pytest.mark.parametrize(
    ("first", "second", "keyword"),
    [
        ({"EchoTime": 4.6}, {"EchoTime": 9.2}, "EchoTime"),
        ({"DiffusionBValue": 0}, {"DiffusionBValue": 1000}, "DiffusionBValue"),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, "TemporalPositionIdentifier"),
        ({"TriggerTime": 10}, {"TriggerTime": 500}, "TriggerTime"),
        ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, "AcquisitionNumber"),
    ],
)
def test_echoes_phases_and_b_values_are_listed_or_selected(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], keyword: str
) -> None:
    images = [*mr(LOW, 1, **first), *mr(HIGH, 2, **second)]

    error = refused(images, tmp_path / "all")
    assert error.reason == "several-volumes"
    assert f"{keyword}: {first[keyword]:g}, {second[keyword]:g}" in str(error)
    assert f'select = ["smallest {keyword}"]' in error.remedy

    for select, value in (
        (f"smallest {keyword}", 100),
        (f"largest {keyword}", 900),
        (f"{keyword} = {second[keyword]}", 900),
    ):
        volume = load(images, tmp_path / "one", select)
        assert volume.array.shape == (4, 6, 6)
        assert (volume.array == value).all()


def test_magnitude_and_phase_are_told_apart_by_image_type(tmp_path: Path) -> None:
    images = [
        *mr(LOW, 1, ImageType=["ORIGINAL", "PRIMARY", "M"]),
        *mr(HIGH, 2, ImageType=["ORIGINAL", "PRIMARY", "P"]),
    ]

    assert "ComplexImageComponent: MAGNITUDE, PHASE" in str(refused(images, tmp_path))
    assert (load(images, tmp_path, "ImageType = P").array == 900).all()
    assert (load(images, tmp_path, "ComplexImageComponent = MAGNITUDE").array == 100).all()


def test_two_attributes_may_be_needed(tmp_path: Path) -> None:
    images = [
        image
        for number, (echo, kind) in enumerate([(4.6, "M"), (4.6, "P"), (9.2, "M"), (9.2, "P")])
        for image in mr(LOW + number, number, EchoTime=echo, ImageType=["ORIGINAL", "PRIMARY", kind])
    ]

    assert "4 volumes of the same place" in str(refused(images, tmp_path))
    assert refused(images, tmp_path, "smallest EchoTime").reason == "several-volumes"
    assert (load(images, tmp_path, "largest EchoTime", "ImageType = P").array == 103).all()


def test_a_selection_that_a_series_does_not_know_changes_nothing(tmp_path: Path) -> None:
    assert load(mr(LOW, 1), tmp_path, "smallest EchoTime").array.shape == (4, 6, 6)


def test_a_part_that_is_not_there_is_refused_with_what_is(tmp_path: Path) -> None:
    error = refused(mr(LOW, 1, DiffusionBValue=500), tmp_path, "DiffusionBValue = 1000")

    assert error.reason == "no-such-part"
    assert "it holds 500" in str(error)


def test_images_that_nothing_tells_apart_are_duplicates(tmp_path: Path) -> None:
    assert refused([*mr(LOW, 1), *mr(HIGH, 2)], tmp_path).reason == "duplicate-position"


def test_positions_that_are_nearly_the_same_are_duplicates(tmp_path: Path) -> None:
    images = mr(LOW, 1)
    images[2].ImagePositionPatient = [
        *images[1].ImagePositionPatient[:2],
        float(images[1].ImagePositionPatient[2]) + 0.01,
    ]

    assert refused(images, tmp_path).reason == "duplicate-position"


def test_a_localizer_is_left_out_by_selection(tmp_path: Path) -> None:
    localizer = mr(HIGH[:1], 9, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    images = [*mr(LOW, 1), *localizer]

    assert refused(images, tmp_path).reason == "localizer"
    assert (load(images, tmp_path, "ImageType = AXIAL").array == 100).all()


@pytest.mark.parametrize(
    ("own", "keyword"),
    [
        (lambda i: {"MREchoSequence": {"EffectiveEchoTime": 5 if i < 4 else 10}}, "EchoTime"),
        (lambda i: {"MRDiffusionSequence": {"DiffusionBValue": 0 if i < 4 else 800}}, "DiffusionBValue"),
        (lambda i: {"FrameContentSequence": {"TemporalPositionIndex": 1 if i < 4 else 2}}, "TemporalPositionIndex"),
    ],
)
def test_frames_of_one_object_are_selected_likewise(
    tmp_path: Path, own: Callable[[int], dict[str, Any]], keyword: str
) -> None:
    made = enhanced([*mr(LOW, 1), *mr(HIGH, 2)], sop_class=EnhancedMRImageStorage, own=own)

    assert f"({keyword}: " in str(refused([made], tmp_path))
    volume = load([made], tmp_path, f"largest {keyword}")

    assert (volume.array == 900).all()
    assert volume.frame_numbers == (5, 6, 7, 8)


def test_stacks_of_different_orientation_in_one_object_are_listed(tmp_path: Path) -> None:
    coronal = np.array([[0.0, 0.0, 0.7], [2.5, 0.0, 0.0], [0.0, -0.9, 0.0]])
    other = ct_series(HIGH, coronal)

    def own(index: int) -> dict[str, Any]:
        source = (*mr(LOW, 1), *other)[index]
        return {
            "FrameContentSequence": {"StackID": "1" if index < 4 else "2"},
            "PlaneOrientationSequence": {"ImageOrientationPatient": source.ImageOrientationPatient},
        }

    made = enhanced([*mr(LOW, 1), *other], sop_class=EnhancedMRImageStorage, own=own)

    assert refused([made], tmp_path).reason == "several-volumes"
    assert load([made], tmp_path, "StackID = 1").grid.shape == (4, 6, 6)
