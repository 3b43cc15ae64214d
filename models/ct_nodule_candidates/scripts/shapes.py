"""The outline of a candidate, and its sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Bools = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Spacing = tuple[float, float, float]

LUNG_HU = -850.0
_AROUND = 0.8  # of the diameter: what lies further from the centre belongs to something else
_MARGIN_MM = 2.0
_OPENING = 1 / 5  # of the diameter: thinner parts are vessels that lead to it
_DIRECTIONS = 36


@dataclass(frozen=True, slots=True)
class Shape:
    """What was outlined, on voxels of the image."""

    low: tuple[float, float, float]  # index of its lowest corner, half a voxel below the lowest voxel
    high: tuple[float, float, float]
    volume_mm3: float
    long_axis_mm: float  # longest diameter in the slice in which it is largest
    contrast_hu: float  # above the lung
    apart: float  # share of its surface that is not cut off from something beyond


def outlined(
    hu: Float32, region: Bools, centre: tuple[float, float, float], diameter: float, spacing: Spacing
) -> Shape | None:
    """The bright part around ``centre`` (index), from half way between its density and that of lung on; None: none is.

    ``hu`` and ``region`` (where nodules may lie) have axes (X, Y, Z).
    """
    reach = _AROUND * diameter + _MARGIN_MM
    low = [max(0, int(np.floor(c - reach / s))) for c, s in zip(centre, spacing, strict=True)]
    high = [min(n, int(np.ceil(c + reach / s)) + 1) for c, s, n in zip(centre, spacing, hu.shape, strict=True)]
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part, allowed = hu[window], region[window]
    offsets = np.meshgrid(
        *((np.arange(a, b) - c) * s for a, b, c, s in zip(low, high, centre, spacing, strict=True)), indexing="ij"
    )
    distance = np.sqrt(sum(offset**2 for offset in offsets))
    core = part[(distance <= max(0.25 * diameter, 0.6 * max(spacing[:2]))) & allowed]
    if not core.size:
        return None
    own = float(np.median(core))
    bright = (part > (own + LUNG_HU) / 2) & allowed
    mask = _without_vessels(bright & (distance <= reach), distance, diameter, spacing)
    if mask is None:
        return None
    edge = ndimage.binary_dilation(mask) & ~mask
    beyond = edge & bright & (distance > reach - max(spacing))
    outer = edge & ~allowed
    places = np.argwhere(mask) + np.asarray(low)
    return Shape(
        low=tuple((places.min(axis=0) - 0.5).tolist()),
        high=tuple((places.max(axis=0) + 0.5).tolist()),
        volume_mm3=float(mask.sum() * np.prod(spacing)),
        long_axis_mm=_long_axis(mask, spacing),
        contrast_hu=own - LUNG_HU,
        apart=1.0 - float((beyond | outer).sum()) / max(int(edge.sum()), 1),
    )


def _without_vessels(bright: Bools, distance: Float32, diameter: float, spacing: Spacing) -> Bools | None:
    """The part around the centre, without what is much thinner than itself."""
    depth = ndimage.distance_transform_edt(np.pad(bright, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    radius = max(_OPENING * diameter, 0.5 * max(spacing[:2]))
    core = depth > radius
    if not core.any():
        core = depth >= depth.max() * 0.99 if depth.max() > 0 else core
    mask = bright & (ndimage.distance_transform_edt(~core, sampling=spacing) <= radius) if core.any() else core
    labels, count = ndimage.label(mask)
    if not count:
        return None
    nearest = np.where(mask, distance, np.inf)
    place = np.unravel_index(int(np.argmin(nearest)), mask.shape)
    return None if nearest[place] > diameter / 2 + max(spacing) else np.asarray(labels == labels[place])


def _long_axis(mask: Bools, spacing: Spacing) -> float:
    """Longest diameter, mm, over directions in the slice (third axis) of the largest area, to the edges of voxels."""
    plane = mask[:, :, int(mask.sum(axis=(0, 1)).argmax())]
    points = np.argwhere(plane) * np.asarray(spacing[:2])
    angles = np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    along = np.stack([np.cos(angles), np.sin(angles)])
    extents = np.ptp(points @ along, axis=0) + 0.5 * np.abs(along * np.asarray(spacing[:2])[:, None]).sum(axis=0)
    return float(extents.max())
