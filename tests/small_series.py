"""Small computed MR series as Part 10 files: nobody's images, with whatever attributes a test asks for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid


def small_series(
    slices: int = 6, *, shape: tuple[int, int] = (24, 20), step: float = 3.0, **attributes: Any
) -> list[Dataset]:
    """A series of axial MR images, of a study of its own unless ``attributes``, which are set in each, name one."""
    common = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": MRImageStorage,
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "PatientName": "Synthetic^Small",
        "PatientID": "SMALL-1",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "StudyDate": "20260304",
        "StudyTime": "101500",
        "StudyID": "1",
        "StudyDescription": "small",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "Modality": "MR",
        "Manufacturer": "tests",
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "SeriesNumber": 1,
        "SliceThickness": f"{step:g}",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1.5, 1.25],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    images = []
    for index in range(slices):
        image = Dataset()
        for keyword, value in (common | attributes).items():
            setattr(image, keyword, value)
        image.SOPInstanceUID = generate_uid()
        image.InstanceNumber = index + 1
        image.ImagePositionPatient = [-12.5, 7.25, index * step]
        image.Rows, image.Columns = shape
        pixels = np.zeros(shape, np.uint16)
        pixels[4:15, 3 : 8 + index] = 200
        image.PixelData = pixels.tobytes()
        images.append(image)
    return images


def write(images: Iterable[Dataset], folder: Path) -> Path:
    """Write the images into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        write_one(image, folder / f"{image.SOPInstanceUID}.dcm")
    return folder


def write_one(image: Dataset, file: Path, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write one object as a Part 10 file."""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = transfer_syntax
    image.save_as(file, enforce_file_format=True)
    return file
