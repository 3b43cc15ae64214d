"""Right lung and left lung: told apart by the patient's axes, and parted where they touch."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .coarse import Bools, Volume, box, components

RIGHT, LEFT = 1, 2
# A part of which more than this share lies on either side of the middle holds both lungs.
BOTH_SIDES = 0.15
# Erosions tried, in mm, until the bridge between the lungs breaks.
EROSIONS_MM = (1.5, 2.5, 4.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0)


def tell_apart(volume: Volume, lungs: Bools, middle: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Labels (1 right, 2 left) of the coarse mask ``lungs``; ``middle`` is the body's, in mm to the right."""
    result = np.zeros(lungs.shape, dtype=np.uint8)
    on_right = volume.rightward > middle
    labels, sizes = components(lungs)
    right = np.bincount(labels[on_right], minlength=len(sizes))
    share = right / np.maximum(sizes, 1)
    side = np.where(share >= 0.5, RIGHT, LEFT).astype(np.uint8)
    side[0] = 0
    result = side[labels]
    for label in np.flatnonzero((share > BOTH_SIDES) & (share < 1 - BOTH_SIDES)):
        if label and sizes[label] * volume.voxel_ml > 100:
            part = labels == label
            window = box(part, 4.0, volume.spacing)
            result[window][part[window]] = _parted(part[window], on_right[window], volume.spacing)[part[window]]
    return result


def _parted(
    part: Bools, on_right: Bools, spacing: tuple[float, float, float]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Labels of one part that holds both lungs: eroded until it falls in two, then grown back level by level."""
    depth = ndimage.distance_transform_edt(part, sampling=spacing)
    for erosion in EROSIONS_MM:
        right, left = _cores(depth > erosion, on_right)
        if right.any() and left.any():
            return _flooded(depth, right, left, erosion, min(spacing))
    return np.where(part, np.where(on_right, RIGHT, LEFT), 0).astype(np.uint8)


def _cores(core: Bools, on_right: Bools) -> tuple[Bools, Bools]:
    """The large parts on the right and on the left; none when one still reaches over."""
    labels, sizes = components(core)
    sizes[0] = 0
    share = np.bincount(labels[on_right], minlength=len(sizes)) / np.maximum(sizes, 1)
    large = np.flatnonzero(sizes >= 0.1 * sizes.max()) if sizes.any() else np.empty(0, dtype=np.int64)
    if np.any((share[large] > BOTH_SIDES) & (share[large] < 1 - BOTH_SIDES)):
        return np.zeros_like(core), np.zeros_like(core)
    right, left = large[share[large] > 0.5], large[share[large] <= 0.5]
    return np.isin(labels, right), np.isin(labels, left)


def _flooded(
    depth: np.ndarray[tuple[int, ...], np.dtype[np.float64]], right: Bools, left: Bools, start: float, step: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Grow both cores at once through ever thinner parts: they meet where the bridge is thinnest."""
    labels = np.where(right, RIGHT, np.where(left, LEFT, 0)).astype(np.uint8)
    for level in np.arange(start, -step, -step):
        basin = depth > max(level, 0.0)
        while True:
            near_right = ndimage.binary_dilation(labels == RIGHT, mask=basin) & (labels == 0)
            near_left = ndimage.binary_dilation(labels == LEFT, mask=basin) & (labels == 0)
            near_right &= basin
            near_left &= basin
            if not near_right.any() and not near_left.any():
                break
            labels[near_left] = LEFT
            labels[near_right] = RIGHT
    rest = (depth > 0) & (labels == 0)
    if rest.any():
        nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
        labels[rest] = labels[tuple(nearest)][rest]
    return labels
