"""Image series as Part 10 files, of any pixels on any grid: classic single-frame and Enhanced multi-frame objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

SERIES, STUDY, FRAME = "2.25.101", "2.25.102", "2.25.103"
AXIAL = np.array([[0.0, 0.0, 0.7], [0.0, 0.9, 0.0], [2.5, 0.0, 0.0]])  # columns: slice, row, column step in LPS mm


def image(stored: np.ndarray, step: np.ndarray, origin: Sequence[float], index: int) -> Dataset:
    """A CT image of ``stored`` (int16), slice ``index`` of the grid with the steps ``step``."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"{SERIES}.{index + 1}"
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = SERIES, STUDY, FRAME
    ds.PatientID, ds.Modality, ds.ImageType = "P1", "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.SliceThickness = 1, -1024, 1
    spacing = np.linalg.norm(step, axis=0)
    ds.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[2]:.10g}"]
    cosines = [*(step[:, 2] / spacing[2]), *(step[:, 1] / spacing[1])]
    ds.ImageOrientationPatient = [f"{value:.10f}" for value in cosines]
    ds.ImagePositionPatient = [f"{value:.10f}" for value in np.asarray(origin) + index * step[:, 0]]
    ds.PixelData = stored.astype("<i2").tobytes()
    return ds


def ct_series(
    stored: np.ndarray, step: np.ndarray = AXIAL, origin: Sequence[float] = (-10.0, 20.0, 30.0)
) -> list[Dataset]:
    """Images of ``stored`` (slice, row, column)."""
    return [image(plane, step, origin, index) for index, plane in enumerate(stored)]


def write(images: Sequence[Dataset], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.dcm" for index in range(len(images))]
    for path, ds in zip(paths, images, strict=True):
        ds.save_as(path, enforce_file_format=True)
    return paths


def enhanced(
    images: Sequence[Dataset],
    *,
    sop_class: str = EnhancedCTImageStorage,
    own: Callable[[int], dict[str, Any]] | None = None,
) -> Dataset:
    """The images as one Enhanced multi-frame object, its frames in the order of ``images``.

    Orientation and pixel spacing are shared; position and values belong to each frame. ``own`` gives further macros
    of a frame: name of the sequence -> attributes of its item.
    """
    made = Dataset()
    made.update({element.tag: element for element in images[0]})
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = f"{SERIES}.900"
    for keyword in _OF_FRAMES:
        made.pop(keyword, None)
    made.NumberOfFrames = len(images)
    shared = {
        "PlaneOrientationSequence": {"ImageOrientationPatient": images[0].ImageOrientationPatient},
        "PixelMeasuresSequence": {keyword: images[0][keyword].value for keyword in ("PixelSpacing", "SliceThickness")},
    }
    made.SharedFunctionalGroupsSequence = [_macros(shared)]
    made.PerFrameFunctionalGroupsSequence = []
    for index, image_ in enumerate(images):
        macros: dict[str, dict[str, Any]] = {
            "FrameContentSequence": {"StackID": "1", "InStackPositionNumber": index + 1},
            "PlanePositionSequence": {"ImagePositionPatient": image_.ImagePositionPatient},
            "PixelValueTransformationSequence": {
                "RescaleSlope": image_.RescaleSlope,
                "RescaleIntercept": image_.RescaleIntercept,
                "RescaleType": "HU",
            },
        }
        for name, attributes in (own(index) if own else {}).items():
            macros[name] = macros.get(name, {}) | attributes
        made.PerFrameFunctionalGroupsSequence.append(_macros(macros))
    made.PixelData = b"".join(image_.PixelData for image_ in images)
    return made


def _macros(told: dict[str, dict[str, Any]]) -> Dataset:
    groups = Dataset()
    for name, attributes in told.items():
        item = Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        setattr(groups, name, [item])
    return groups


_OF_FRAMES = (
    "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness", "RescaleSlope",
    "RescaleIntercept", "PixelData",
)  # fmt: skip
