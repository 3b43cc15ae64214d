"""Labelled MR volumes (NIfTI) as the DICOM series a scanner or a post-processing station would have sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.uid import generate_uid
from small_series import small_series, write

# Order of the axes (slice, row, column) among those of the volume (R, A, S), and the sign of each in LPS.
STACKS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "axial": ((2, 1, 0), (1, 1, 1)),
    "axial from the head down": ((2, 1, 0), (-1, 1, 1)),
    "coronal": ((1, 2, 0), (1, -1, 1)),
    "sagittal": ((0, 2, 1), (1, -1, 1)),
    "axial, mirrored and upside down": ((2, 1, 0), (1, -1, -1)),
}


def hippocampus_case(folder: Path, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Image and labels (R, A, S), and the affine to RAS mm, of a case of the Medical Segmentation Decathlon."""
    import nibabel

    image = nibabel.load(folder / "mr_hippocampus_msd" / "images" / f"{name}.nii.gz")
    labels = nibabel.load(folder / "mr_hippocampus_msd" / "labels" / f"{name}.nii.gz")
    return np.asarray(image.dataobj), np.asarray(labels.dataobj).astype(np.uint8), image.affine


def write_stack(
    volume: npt.NDArray[Any], ras_affine: npt.NDArray[Any], folder: Path, stack: str, **attributes: Any
) -> Path:
    """Write ``volume`` (axes R, A, S) as one series of 12-bit integers with a rescale, stored as ``stack`` says."""
    order, signs = STACKS[stack]
    pixels, affine = _stacked(volume, np.diag([-1.0, -1, 1, 1]) @ ras_affine, order, signs)
    low, high = float(pixels.min()), float(pixels.max())
    slope = (high - low) / 4000 or 1.0
    stored = np.round((pixels - low) / slope).astype(np.uint16)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    normal, down, along = (affine[:3, axis] / spacing[axis] for axis in range(3))
    images = small_series(
        len(stored),
        shape=stored.shape[1:],
        step=float(spacing[0]),
        **{"SeriesDescription": "HippoCrop", "SeriesInstanceUID": generate_uid(), "BitsStored": 12, "HighBit": 11}
        | attributes,
    )
    for index, (image, plane) in enumerate(zip(images, stored, strict=True)):
        image.ImageOrientationPatient = [round(float(v), 6) for v in (*along, *down)]
        position = affine[:3, 3] + index * spacing[0] * normal
        image.ImagePositionPatient = [round(float(v), 4) for v in position]
        image.PixelSpacing = [float(spacing[1]), float(spacing[2])]
        image.RescaleIntercept, image.RescaleSlope = f"{low:.8g}", f"{slope:.8g}"
        image.PixelData = plane.tobytes()
    return write(images, folder)


def _stacked(
    volume: npt.NDArray[Any],
    lps_affine: npt.NDArray[Any],
    order: tuple[int, int, int],
    signs: tuple[int, int, int],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The volume as (slice, row, column) and its affine to LPS mm; each axis ascends along ``signs`` in LPS."""
    pixels = volume.transpose(order)
    affine = np.column_stack([*(lps_affine[:, axis] for axis in order), lps_affine[:, 3]])
    for axis, sign in enumerate(signs):
        if np.sign(affine[order[axis], axis]) != sign:
            pixels = np.flip(pixels, axis)
            affine[:3, 3] += affine[:3, axis] * (pixels.shape[axis] - 1)
            affine[:3, axis] *= -1
    return np.ascontiguousarray(pixels), affine
