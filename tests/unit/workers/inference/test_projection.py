"""2-D images: their orientation, view and pixel spacing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_series import ct_series, write
from pydicom import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, DigitalXRayImageStorageForPresentation

from dicom_node.domain.contract import Selection
from dicom_node.errors import DicomNodeError
from workers.inference.volume import Volume, load_volume

STORED = np.random.default_rng(4).integers(0, 4096, (6, 8)).astype(np.int16)


def radiograph(modality: str = "DX", number: int = 1, **attributes: Any) -> Dataset:
    (made,) = ct_series(STORED[None])
    made.Modality = modality
    made.SOPClassUID = (
        DigitalMammographyXRayImageStorageForPresentation
        if modality == "MG"
        else DigitalXRayImageStorageForPresentation
    )
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"2.25.8.{number}"
    made.BitsStored, made.HighBit, made.PixelRepresentation = 12, 11, 0
    for keyword in (
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID", "SliceThickness",
        "RescaleSlope", "RescaleIntercept",
    ):  # fmt: skip
        delattr(made, keyword)
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def load(folder: Path, *images: Dataset, select: str = "") -> Volume:
    selections = [Selection.parse(select)] if select else []
    return load_volume(write(images, folder), select=selections)


@pytest.mark.parametrize("modality", ["CR", "DX", "MG", "IO", "RF"])
def test_a_projection_is_one_slice_with_the_axes_of_patient_orientation(tmp_path: Path, modality: str) -> None:
    volume = load(tmp_path, radiograph(modality, PatientOrientation=["L", "F"], ImagerPixelSpacing=[0.2, 0.1]))

    assert volume.array.shape == (1, 6, 8)
    assert np.array_equal(volume.array[0], STORED)
    assert volume.grid.spacing == (1, 0.2, 0.1)
    np.testing.assert_array_equal(volume.grid.directions, [[0, 0, 1], [1, 0, 0], [0, -1, 0]])  # column to the left (+x)
    assert volume.projection is not None
    assert volume.projection.spacing_from == "Imager Pixel Spacing"
    assert volume.frame_of_reference_uid == ""


def test_oblique_letters_point_where_the_first_says(tmp_path: Path) -> None:
    volume = load(tmp_path, radiograph("MG", PatientOrientation=["A", "FR"], ViewPosition="MLO", ImageLaterality="L"))

    assert volume.projection is not None
    assert (volume.projection.view, volume.projection.laterality) == ("MLO", "L")
    assert volume.projection.patient_orientation == ("A", "FR")
    np.testing.assert_array_equal(volume.grid.directions[:, 2], [0, -1, 0])


def test_what_is_not_told_is_none(tmp_path: Path) -> None:
    told = load(tmp_path, radiograph()).projection

    assert told is not None
    assert (told.patient_orientation, told.view, told.laterality, told.spacing_from) == (None, "", "", "none")


@pytest.mark.parametrize(
    ("attributes", "spacing", "source"),
    [
        ({"PixelSpacing": [0.3, 0.3]}, (0.3, 0.3), "Pixel Spacing"),
        ({"PixelSpacing": [0.3, 0.3], "ImagerPixelSpacing": [0.4, 0.4]}, (0.3, 0.3), "Pixel Spacing"),
        # Equal to that of the detector: not corrected for magnification.
        ({"PixelSpacing": [0.4, 0.4], "ImagerPixelSpacing": [0.4, 0.4]}, (0.4, 0.4), "Imager Pixel Spacing"),
        (
            {"PixelSpacing": [0.4, 0.4], "ImagerPixelSpacing": [0.4, 0.4], "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.4, 0.4),
            "Pixel Spacing",
        ),
        (
            {"ImagerPixelSpacing": [0.4, 0.2], "EstimatedRadiographicMagnificationFactor": 2},
            (0.2, 0.1),
            "Imager Pixel Spacing and magnification",
        ),
        ({"NominalScannedPixelSpacing": [0.17, 0.17]}, (0.17, 0.17), "Nominal Scanned Pixel Spacing"),
        ({"PixelAspectRatio": [2, 1]}, (2, 1), "none"),
    ],
)
def test_spacing_says_what_it_was_taken_from(
    tmp_path: Path, attributes: dict[str, Any], spacing: tuple[float, float], source: str
) -> None:
    volume = load(tmp_path, radiograph(**attributes))

    assert volume.grid.spacing[1:] == pytest.approx(spacing)
    assert volume.projection is not None
    assert volume.projection.spacing_from == source


def test_monochrome1_is_turned_where_values_have_no_unit(tmp_path: Path) -> None:
    dark = load(tmp_path / "1", radiograph(PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(dark.array[0], 4095 - STORED.astype(int))

    (ct,) = ct_series(STORED[None])
    ct.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(load(tmp_path / "2", ct).array[0], STORED.astype(int) - 1024)


def test_several_views_are_listed_or_selected(tmp_path: Path) -> None:
    views = [radiograph("MG", 1, ViewPosition="CC"), radiograph("MG", 2, ViewPosition="MLO")]

    with pytest.raises(DicomNodeError, match="ViewPosition: CC, MLO") as raised:
        load(tmp_path, *views)

    assert raised.value.reason == "several-images"
    assert load(tmp_path, *views, select="ViewPosition = MLO").frames == ("2.25.8.2",)


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientOrientation": ["L", "R"]},
        {"PatientOrientation": ["L", "X"]},
        {"PatientOrientation": ["L"]},
        {"ImagerPixelSpacing": [0, 0.1]},
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, attributes: dict[str, Any]) -> None:
    with pytest.raises(DicomNodeError) as raised:
        load(tmp_path, radiograph(**attributes))

    assert raised.value.reason == "bad-value"


def test_a_ct_without_geometry_is_no_projection(tmp_path: Path) -> None:
    image = radiograph("CT", RescaleSlope=1, RescaleIntercept=0)

    with pytest.raises(DicomNodeError) as raised:
        load(tmp_path, image)

    assert raised.value.reason == "no-geometry"


@pytest.mark.data
@pytest.mark.parametrize("name", ["cxr_nih/test2.dcm", "cxr_nih/test3.dcm", "mammography/MG1_J2KI"])
def test_real_projections_are_those_that_itk_reads(test_data: Path, name: str) -> None:
    sitk = pytest.importorskip("SimpleITK")

    volume = load_volume([test_data / name])

    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(test_data / name)))
    ours = volume.array
    if volume.headers[0].PhotometricInterpretation == "MONOCHROME1":  # which ITK leaves as it is
        ours = 2 ** volume.headers[0].BitsStored - 1 - ours
    assert np.abs(ours - theirs).max() <= 1  # two decoders of a lossy codestream
