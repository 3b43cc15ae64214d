"""Studies to send: copies under new UIDs and without names, so that each run is a study never seen before."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from dicom_node.demo import phantom

REAL_CT = "ct_chest_lungdx_A0002"
SMALL_PIXELS = 96
LARGE_PIXELS = 512


def chest_ct(folder: Path) -> tuple[list[FileDataset], str]:
    """Images of one chest CT, and what it is: the real one below DICOM_NODE_TEST_DATA, or the phantom."""
    data = os.environ.get("DICOM_NODE_TEST_DATA")
    if data:
        files = sorted((Path(data) / REAL_CT).rglob("*.dcm"))
        return [pydicom.dcmread(file) for file in files], f"real chest CT, {len(files)} slices"
    files = phantom.write(phantom.compute(), folder)
    return [pydicom.dcmread(file) for file in files], f"SYNTHETIC phantom, {len(files)} slices"


def large(image: FileDataset) -> FileDataset:
    """An image of 512 x 512, as scanners send: the image itself, or with a border around it."""
    rows, columns = LARGE_PIXELS - int(image.Rows), LARGE_PIXELS - int(image.Columns)
    if rows <= 0 and columns <= 0:
        return image
    made = copy.deepcopy(image)
    border = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))
    made.PixelData = np.pad(image.pixel_array, border, mode="edge").tobytes()
    made.Rows = made.Columns = LARGE_PIXELS
    return made


def small(image: FileDataset) -> FileDataset:
    """The middle of an image, 96 x 96."""
    made = copy.deepcopy(image)
    top, left = (int(image.Rows) - SMALL_PIXELS) // 2, (int(image.Columns) - SMALL_PIXELS) // 2
    made.PixelData = image.pixel_array[top : top + SMALL_PIXELS, left : left + SMALL_PIXELS].tobytes()
    made.Rows = made.Columns = SMALL_PIXELS
    return made


def write_copies(images: list[FileDataset], count: int, folder: Path) -> str:
    """Write ``count`` objects, the images again and again, as one new study of one series; returns its UID."""
    folder.mkdir(parents=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(count):
        image = images[number % len(images)]
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.PatientID, image.PatientName, image.PatientBirthDate = f"BENCH{study[-8:]}", "Benchmark", ""
        image.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
    return str(study)


def size_mb(folder: Path) -> float:
    """Bytes of the files of a folder, in 10^6."""
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6
