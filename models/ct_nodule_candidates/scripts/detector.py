"""The bundle's network: Hounsfield units in, candidates out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from scipy import ndimage
from torch.nn import functional

from .blobs import Blob, Spacing, blobs
from .lungs.coarse import closed
from .lungs.segmentation import segment
from .shapes import LUNG_HU, Shape, outlined

SMALLEST_MM = 5.0  # long axis of a candidate
VOXEL_MM = 1.0  # of the image that is filtered, unless its voxels are larger
COARSE_MM = 2.5
PLEURA_MM = 7.0  # what lies in a notch of the lung narrower than twice this is looked at too
HIGHEST_HU = 150.0  # calcium and bone count as this
_FULL_CONTRAST_HU = 450.0

Float64 = npt.NDArray[np.float64]


class NoduleCandidates(torch.nn.Module):
    """Marks what is round and brighter than lung, 5 to about 30 mm.

    Takes a MetaTensor (1, 1, X, Y, Z) in HU whose axes point to the patient's right, front and head as nearly as they
    can ("RAS"), with the affine of its voxels in mm. Nothing in it is random or learned.

    Returns, each with a batch axis of 1: ``box`` (n, 6), two opposite corners in RAS mm; ``scores`` (n,), 0 to 1;
    ``long_axis`` (n,), mm; ``volume`` (n,), mm³. The best comes first; without lungs n is 0.
    """

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Candidates in one image.

        Raises:
            ValueError: the tensor carries no affine, or is not one volume of one channel.
        """
        if not isinstance(image, MetaTensor):
            raise ValueError("candidates need a MetaTensor: voxel size and body axes are in its affine")
        if image.ndim != 5 or image.shape[0] != 1 or image.shape[1] != 1:
            raise ValueError(f"candidates need a tensor of shape (1, 1, X, Y, Z), not {tuple(image.shape)}")
        affine = np.asarray(image.affine.cpu().numpy(), dtype=np.float64).reshape(-1, 4, 4)[0]
        hu = image.as_tensor()[0, 0].cpu().float()
        found = sorted(_candidates(hu, affine), key=lambda each: -each[0])
        rows = [(score, shape.long_axis_mm, shape.volume_mm3) for score, shape in found]
        columns = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3).T
        boxes = np.asarray([_box(shape, affine) for _, shape in found]).reshape(-1, 6)
        return {
            "box": torch.as_tensor(boxes)[None],
            "scores": columns[0][None],
            "long_axis": columns[1][None],
            "volume": columns[2][None],
        }


def _candidates(hu: torch.Tensor, affine: Float64) -> Iterator[tuple[float, Shape]]:
    """Score and shape of each candidate."""
    lungs = segment(hu.numpy(), affine) > 0
    if not lungs.any():
        return
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    spacing: Spacing = (float(sizes[0]), float(sizes[1]), float(sizes[2]))
    window = _window(lungs, spacing)
    start = np.asarray([part.start for part in window])
    part, lungs = hu[window].clip(LUNG_HU - 150.0, HIGHEST_HU), lungs[window]
    region = _with_notches(lungs, spacing)
    filtered, inside, apart = _for_filter(torch.where(torch.as_tensor(region), part, LUNG_HU), region, spacing)
    ratio = np.asarray(apart) / np.asarray(spacing)
    taken = np.zeros(region.shape, dtype=np.bool_)
    for blob in blobs(filtered, inside, apart):
        at = (np.asarray(blob.index) + 0.5) * ratio - 0.5
        shape = outlined(part.numpy(), region, (at[0], at[1], at[2]), blob.diameter, spacing)
        if shape is None or shape.long_axis_mm < SMALLEST_MM:
            continue
        middle = tuple(round((a + b) / 2) for a, b in zip(shape.low, shape.high, strict=True))
        if taken[middle]:
            continue
        taken[tuple(slice(int(a + 0.5), int(b + 0.5)) for a, b in zip(shape.low, shape.high, strict=True))] = True
        yield _score(blob, shape), _moved(shape, start)


def _window(lungs: npt.NDArray[np.bool_], spacing: Spacing) -> tuple[slice, ...]:
    """The box of the lungs with a margin."""
    found = []
    for axis, size in enumerate(spacing):
        there = np.flatnonzero(lungs.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = int(np.ceil(PLEURA_MM / size)) + 1
        found.append(slice(max(0, int(there[0]) - margin), min(lungs.shape[axis], int(there[-1]) + 1 + margin)))
    return tuple(found)


def _with_notches(lungs: npt.NDArray[np.bool_], spacing: Spacing) -> npt.NDArray[np.bool_]:
    """The lungs and narrow notches in their surface, where nodules at the pleura lie; closed on a coarse grid."""
    factors = tuple(max(1, round(COARSE_MM / s)) for s in spacing)
    pooled = functional.max_pool3d(torch.as_tensor(lungs)[None, None].float(), factors, ceil_mode=True)[0, 0] > 0
    apart = (spacing[0] * factors[0], spacing[1] * factors[1], spacing[2] * factors[2])
    filled = ndimage.binary_fill_holes(closed(pooled.numpy(), PLEURA_MM, apart))
    fine = filled.repeat(factors[0], 0).repeat(factors[1], 1).repeat(factors[2], 2)
    return np.asarray(fine[tuple(slice(0, n) for n in lungs.shape)] | lungs)


def _for_filter(
    part: torch.Tensor, region: npt.NDArray[np.bool_], spacing: Spacing
) -> tuple[torch.Tensor, torch.Tensor, Spacing]:
    """Image and region on voxels of about ``VOXEL_MM``, and their spacing."""
    x, y, z = (max(1, round(n * s / max(VOXEL_MM, s))) for n, s in zip(part.shape, spacing, strict=True))
    shape = (x, y, z)
    filtered = functional.adaptive_avg_pool3d(part[None, None], shape)[0, 0]
    inside = functional.adaptive_max_pool3d(torch.as_tensor(region)[None, None].float(), shape)[0, 0] > 0
    apart = [n * s / m for n, s, m in zip(part.shape, spacing, shape, strict=True)]
    return filtered, inside, (apart[0], apart[1], apart[2])


def _score(blob: Blob, shape: Shape) -> float:
    """How much a candidate is like a solitary ball: round, filling its long axis, denser than lung, and apart."""
    ball = np.pi / 6 * shape.long_axis_mm**3
    parts = (
        blob.roundness,
        min(1.0, shape.volume_mm3 / ball),
        min(1.0, max(0.0, shape.contrast_hu) / _FULL_CONTRAST_HU),
        shape.apart,
    )
    return float(np.prod(parts) ** (1 / len(parts)))


def _moved(shape: Shape, start: npt.NDArray[np.intp]) -> Shape:
    low, high = (tuple((np.asarray(corner) + start).tolist()) for corner in (shape.low, shape.high))
    return Shape(low, high, shape.volume_mm3, shape.long_axis_mm, shape.contrast_hu, shape.apart)


def _box(shape: Shape, affine: Float64) -> Float64:
    """Two opposite corners, RAS mm, of the box along the axes of the patient that holds the shape."""
    ends = np.asarray([shape.low, shape.high])
    corners = np.asarray([[ends[a, 0], ends[b, 1], ends[c, 2]] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    placed = corners @ affine[:3, :3].T + affine[:3, 3]
    return np.concatenate([placed.min(axis=0), placed.max(axis=0)])
