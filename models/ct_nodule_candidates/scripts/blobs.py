"""Bright blobs of given diameters: maxima of the Laplacian of Gaussian over place and scale, and how round each is.

The scale-normalised Laplacian answers most where the Gaussian has the width of the blob (Lindeberg 1998,
doi:10.1023/A:1008045108935); the eigenvalues of the Hessian there tell balls from tubes and plates (Li, Sone, Doi 2003,
doi:10.1118/1.1581411).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

Spacing = tuple[float, float, float]

DIAMETERS_MM = (4.5, 6.0, 8.0, 10.5, 14.0, 18.0, 24.0, 30.0)
ANSWER_HU = 110.0  # weaker answers are noise and thin vessels; a solid ball in lung answers with about 400
ROUND = 0.15  # what is less so is a vessel or a wall
_PER_DIAMETER = 1 / (2 * 3**0.5)  # standard deviation of the Gaussian that answers most to a ball
_WIDE_VOXELS = 3.0  # a wider Gaussian works on a coarser grid
_REACH = 3.0  # standard deviations
_MOST = 400


@dataclass(frozen=True, slots=True)
class Blob:
    """A maximum of the filter."""

    index: tuple[float, float, float]  # of the image that was filtered
    diameter: float  # mm, that of the scale
    answer: float  # HU
    roundness: float  # smallest by largest curvature: 1 of a ball, 0 of a tube or plate


def blobs(image: torch.Tensor, inside: torch.Tensor, spacing: Spacing) -> list[Blob]:
    """Blobs whose centre lies ``inside``, the strongest first; of those that lie within each other the strongest.

    ``image`` is HU (X, Y, Z), float32; ``inside`` is boolean of the same shape; ``spacing`` mm along the axes.
    """
    found = [blob for diameter in DIAMETERS_MM for blob in _at(image, inside, spacing, diameter)]
    found.sort(key=lambda blob: -blob.answer)
    places = torch.tensor([blob.index for blob in found]).reshape(-1, 3) * torch.tensor(spacing)
    diameters = torch.tensor([blob.diameter for blob in found])
    free = torch.ones(len(found), dtype=torch.bool)
    kept: list[Blob] = []
    for number, blob in enumerate(found):
        if not free[number]:
            continue
        apart = (places - places[number]).norm(dim=1)
        free &= apart >= diameters.clip(min=blob.diameter) / 2
        if blob.roundness >= ROUND:
            kept.append(blob)
        if len(kept) == _MOST:
            break
    return kept


def _at(image: torch.Tensor, inside: torch.Tensor, spacing: Spacing, diameter: float) -> Iterator[Blob]:
    """Local maxima of the filter for one diameter."""
    sigma = diameter * _PER_DIAMETER
    factors = [max(1, int(sigma / s / _WIDE_VOXELS)) for s in spacing]
    coarse = functional.avg_pool3d(image[None, None], factors, ceil_mode=True, count_include_pad=False)[0, 0]
    within = functional.max_pool3d(inside[None, None].float(), factors, ceil_mode=True)[0, 0] > 0
    apart: Spacing = (spacing[0] * factors[0], spacing[1] * factors[1], spacing[2] * factors[2])
    smooth = _smoothed(coarse, [sigma / s for s in apart])
    answer = -(sigma**2) * torch.stack([_second(smooth, axis, apart[axis]) for axis in range(3)]).sum(0)
    highest = functional.max_pool3d(answer[None, None], 3, stride=1, padding=1)[0, 0]
    places = torch.nonzero((answer == highest) & (answer > ANSWER_HU) & within)
    if not len(places):
        return
    roundness = _roundness(smooth, places, apart)
    for place, value, ratio in zip(places.tolist(), answer[tuple(places.T)].tolist(), roundness.tolist(), strict=True):
        x, y, z = (p * f + (f - 1) / 2 for p, f in zip(place, factors, strict=True))
        yield Blob((x, y, z), diameter, value, ratio)


def _smoothed(image: torch.Tensor, sigmas: list[float]) -> torch.Tensor:
    """Convolved by a Gaussian, axis by axis; ``sigmas`` in voxels."""
    smooth = image[None, None]
    for axis, sigma in enumerate(sigmas):
        reach = max(1, round(_REACH * sigma))
        at = torch.arange(-reach, reach + 1, dtype=image.dtype)
        kernel = torch.exp(-0.5 * (at / sigma) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[axis + 2] = len(kernel)
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = reach
        padded = functional.pad(smooth, padding, mode="replicate")
        smooth = functional.conv3d(padded, (kernel / kernel.sum()).reshape(shape))
    return smooth[0, 0]


def _second(image: torch.Tensor, axis: int, distance: float) -> torch.Tensor:
    """Second derivative along one axis, per mm²; the same shape."""
    padded = functional.pad(image[None, None], [1] * 6, mode="replicate")[0, 0]
    ahead, back = [slice(1, -1)] * 3, [slice(1, -1)] * 3
    ahead[axis], back[axis] = slice(2, None), slice(None, -2)
    second: torch.Tensor = (padded[tuple(ahead)] + padded[tuple(back)] - 2 * image) / distance**2
    return second


def _roundness(smooth: torch.Tensor, places: torch.Tensor, spacing: Spacing) -> torch.Tensor:
    """Smallest by largest curvature at the places (n, 3), by the Hessian."""
    padded = functional.pad(smooth[None, None], [1] * 6, mode="replicate")[0, 0]
    unit = torch.eye(3, dtype=torch.long)

    def at(step: torch.Tensor) -> torch.Tensor:
        return padded[tuple((places + 1 + step).T)]

    hessian = torch.zeros(len(places), 3, 3)
    for a in range(3):
        hessian[:, a, a] = (at(unit[a]) + at(-unit[a]) - 2 * at(0 * unit[a])) / spacing[a] ** 2
        for b in range(a):
            across = at(unit[a] + unit[b]) + at(-unit[a] - unit[b]) - at(unit[a] - unit[b]) - at(unit[b] - unit[a])
            hessian[:, a, b] = hessian[:, b, a] = across / (4 * spacing[a] * spacing[b])
    curvature = -torch.linalg.eigvalsh(hessian)
    ratio: torch.Tensor = (curvature.amin(1) / curvature.amax(1).clip(min=1e-6)).clip(0.0, 1.0)
    return ratio
