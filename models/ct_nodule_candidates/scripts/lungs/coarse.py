"""Coarse volumes: small enough for morphology, smooth enough for thresholds. Axes (z, y, x) throughout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Bools = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

VOXEL_MM = 2.0  # coarse voxels are about this size; axes that are coarser stay as they are
LOWEST_HU = -1024.0  # scanners fill what they did not see with lower values


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A coarse CT. Index (0, 0, 0) is at the patient's foot, back and left end."""

    hu: Float32  # axes (z, y, x), mean over each block of voxels
    factors: tuple[int, int, int]  # voxels of the image per coarse voxel, along z, y, x
    spacing: tuple[float, float, float]  # mm along z, y, x
    rightward: Float32  # mm to the patient's right of each coarse voxel; shape of ``hu``

    @property
    def voxel_ml(self) -> float:
        """Volume of a coarse voxel in ml."""
        return float(np.prod(self.spacing)) / 1000

    def in_plane(self) -> Bools:
        """Neighbours within a slice, as a 3x3x3 structure."""
        structure = np.zeros((3, 3, 3), dtype=np.bool_)
        structure[1] = ndimage.generate_binary_structure(2, 1)
        return structure

    def neighbours(self) -> Bools:
        """Neighbours within about a voxel's size: not across thick slices."""
        return self.in_plane() if self.spacing[0] > 1.5 * VOXEL_MM else ndimage.generate_binary_structure(3, 1)


def coarsen(hu: Float32, affine: npt.NDArray[np.float64]) -> Volume:
    """Average blocks of ``hu`` (axes z, y, x; RAS affine of the indices (x, y, z))."""
    size = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    factors = tuple(max(1, min(round(VOXEL_MM / float(s)), n)) for s, n in zip(size, hu.shape, strict=True))
    starts = [np.arange(0, n, f) for n, f in zip(hu.shape, factors, strict=True)]
    result = np.empty(tuple(len(s) for s in starts), dtype=np.float32)
    counts = [np.diff([*s, n]).astype(np.float32) for s, n in zip(starts, hu.shape, strict=True)]
    area = counts[1][:, None] * counts[2][None, :]
    for index, start in enumerate(starts[0]):
        slab = np.maximum(hu[start : start + factors[0]].mean(axis=0, dtype=np.float32), LOWEST_HU)
        rows = np.add.reduceat(slab, starts[1], axis=0)
        result[index] = np.add.reduceat(rows, starts[2], axis=1) / area
    centres = [s + (c - 1) / 2 for s, c in zip(starts, counts, strict=True)]
    z, y, x = np.meshgrid(*centres, indexing="ij", sparse=True)
    rightward = (affine[0, 0] * x + affine[0, 1] * y + affine[0, 2] * z + affine[0, 3]).astype(np.float32)
    spacing = tuple(float(s * f) for s, f in zip(size, factors, strict=True))
    return Volume(result, factors, spacing, rightward)  # type: ignore[arg-type]


def box(mask: Bools, margin_mm: float, spacing: tuple[float, float, float]) -> tuple[slice, ...]:
    """The smallest window around ``mask``, and a margin."""
    slices = []
    for axis, distance in enumerate(spacing):
        found = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = int(np.ceil(margin_mm / distance)) + 1
        slices.append(slice(max(0, found[0] - margin), min(mask.shape[axis], found[-1] + 1 + margin)))
    return tuple(slices)


def closed(mask: Bools, radius_mm: float, spacing: tuple[float, float, float]) -> Bools:
    """Closing by a ball."""
    result = mask.copy()
    if not mask.any():
        return result
    window = box(mask, radius_mm, spacing)
    swollen = ndimage.distance_transform_edt(~mask[window], sampling=spacing) <= radius_mm
    if swollen.all():
        result[window] = True
        return result
    result[window] |= ndimage.distance_transform_edt(swollen, sampling=spacing) > radius_mm
    return result


def components(mask: Bools, structure: Bools | None = None) -> tuple[npt.NDArray[np.int32], Ints]:
    """Connected parts, numbered from 1, and the number of voxels of each number (0: background)."""
    labels, count = ndimage.label(mask, structure=structure)
    return labels, np.bincount(labels.ravel(), minlength=count + 1)
