"""Balls of known size placed into the lungs of the computed phantom, as solitary nodules are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_node.demo.phantom import Phantom

SOLID_HU = 30.0
_APART_MM = 8.0  # from each other
_WITHIN_MM = 2.0  # from the surface of the lung
_OFFSETS = (-1 / 3, 0.0, 1 / 3)  # of the points of a voxel that are asked whether they lie inside


@dataclass(frozen=True, slots=True, eq=False)
class Ball:
    """Centre in LPS mm, diameter in mm."""

    centre: npt.NDArray[np.float64]
    diameter: float


def with_balls(
    body: Phantom, diameters: Sequence[float], *, seed: int, hu: float = SOLID_HU
) -> tuple[Phantom, tuple[Ball, ...]]:
    """The phantom with a ball of each diameter at random places within its lungs; voxels are filled in part."""
    random = np.random.default_rng(seed)
    depth = ndimage.distance_transform_edt(body.lungs > 0, sampling=body.grid.spacing)
    values = body.hu.astype(np.float32)
    balls: list[Ball] = []
    for diameter in sorted(diameters, reverse=True):
        places = np.argwhere(depth > diameter / 2 + _WITHIN_MM)
        while True:
            index = places[random.integers(len(places))] + random.uniform(-0.5, 0.5, 3)
            centre = body.grid.index_to_lps(index[None])[0]
            if all(
                np.linalg.norm(centre - other.centre) > (diameter + other.diameter) / 2 + _APART_MM for other in balls
            ):
                break
        _fill(values, index, diameter, body.grid.spacing, hu)
        balls.append(Ball(centre, diameter))
    return replace(body, hu=np.rint(values).astype(np.int16)), tuple(balls)


def _fill(
    values: npt.NDArray[np.float32],
    index: npt.NDArray[np.float64],
    diameter: float,
    spacing: tuple[float, float, float],
    hu: float,
) -> None:
    reach = [int(np.ceil(diameter / 2 / size)) + 2 for size in spacing]
    window = tuple(
        slice(max(0, int(at) - r), min(n, int(at) + r + 1)) for at, r, n in zip(index, reach, values.shape, strict=True)
    )
    share = np.zeros([part.stop - part.start for part in window], dtype=np.float32)
    for offset in np.stack(np.meshgrid(_OFFSETS, _OFFSETS, _OFFSETS), -1).reshape(-1, 3):
        axes = [
            (np.arange(part.start, part.stop) + o - at) * size
            for part, o, at, size in zip(window, offset, index, spacing, strict=True)
        ]
        squares = np.meshgrid(*(axis**2 for axis in axes), indexing="ij", sparse=True)
        share += (squares[0] + squares[1] + squares[2] <= (diameter / 2) ** 2) / len(_OFFSETS) ** 3
    values[window] += share * (hu - values[window])
