"""From Hounsfield units to labelled lungs. Method and sources: docs/README.md of the bundle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .airways import airways
from .coarse import Bools, Float32, Volume, closed, coarsen, components
from .sides import LEFT, RIGHT, tell_apart

Labels = npt.NDArray[np.uint8]

AIR_HU = -500.0  # darker is air, in the mean of a coarse voxel
OUTLINE_HU = (-600.0, -350.0)  # where the outline's threshold may come to lie
LUNG_ML = 15.0  # smaller parts are left out
LUNGS_ML = 100.0  # less than this in all is no lung
GAS_HU = -965.0  # the body of a bubble of gas is darker; lung, even with emphysema, holds vessels
BUBBLE_ML = 3.0
BUBBLE_WALL_SHARE = 0.6  # a bubble whose rim is tissue by this share lies in bowel or stomach, not in lung
LUNG_BELOW_SHARE = 0.3
CLOSING_MM = 5.0  # vessels and nodules thinner than twice this, within the lung, belong to it
SPECK_MM2 = 15.0  # smaller pieces of an outline in a slice are noise
RIM = 2  # coarse voxels under the surface in which only air counts as lung

_BAND = 2  # added to a label where the image's own voxels decide


def segment(hu: Float32, affine: npt.NDArray[np.float64]) -> Labels:
    """Label the lungs of a CT.

    Args:
        hu: Hounsfield units, axes (x, y, z) towards the patient's right, front and head as nearly as they can.
        affine: 4x4, from the index (x, y, z) to RAS in mm.

    Returns:
        uint8, axes and shape of ``hu``: 0 background, 1 right lung, 2 left lung. All 0 when there is no lung.
    """
    image = hu.transpose(2, 1, 0)
    volume = coarsen(image, affine)
    labels = np.zeros(image.shape, dtype=np.uint8)
    outside = _outside(volume)
    air = (volume.hu < AIR_HU) & ~outside
    tubes = airways(volume, air)
    tubes = ndimage.binary_dilation(tubes, structure=volume.neighbours())
    lungs, bubbles = _lungs(volume, air & ~tubes, outside)
    if lungs.sum() * volume.voxel_ml < LUNGS_ML:
        return labels.transpose(2, 1, 0)
    sides = tell_apart(volume, lungs, _middle(volume, outside))
    plan = _plan(volume, sides, tubes | bubbles | outside)
    _draw(labels, image, plan, volume, _outline_threshold(volume, sides, outside))
    return labels.transpose(2, 1, 0)


def _outside(volume: Volume) -> Bools:
    """Air around the patient: what is connected with the border of its slice."""
    labels, _ = components(volume.hu < AIR_HU, volume.in_plane())
    border = np.concatenate([labels[:, edge].ravel() for edge in (0, -1)] + [labels[:, :, e].ravel() for e in (0, -1)])
    around = np.zeros(int(labels.max()) + 1, dtype=np.bool_)
    around[border] = True
    around[0] = False
    return np.asarray(around[labels])


def _lungs(volume: Volume, air: Bools, outside: Bools) -> tuple[Bools, Bools]:
    """The parts of the air in the body that are lung; and the bubbles of gas that are not."""
    bubbles = _bubbles(volume, air)
    labels, sizes = components(air & ~bubbles)
    keep = sizes * volume.voxel_ml >= LUNG_ML
    keep[0] = False
    above = np.zeros_like(outside)
    above[:-1] |= outside[1:]
    above[1:] |= outside[:-1]
    open_to_room = np.bincount(labels[above], minlength=len(sizes)) / np.maximum(sizes, 1)
    keep &= open_to_room < 0.05
    for label in np.flatnonzero(keep):
        brightest = np.percentile(volume.hu[labels == label], 75)
        keep[label] = brightest > GAS_HU
    return np.asarray(keep[labels]), bubbles


def _bubbles(volume: Volume, air: Bools) -> Bools:
    """Gas in bowel and stomach, which thick slices may join with the lung above."""
    plane = volume.in_plane()
    smooth = ndimage.uniform_filter(volume.hu, size=(1, 3, 3))
    labels, sizes = components(ndimage.binary_opening(air & (smooth < GAS_HU), structure=plane))
    found = np.zeros(air.shape, dtype=np.bool_)
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if sizes[label] * volume.voxel_ml < BUBBLE_ML:
            continue
        wide = tuple(slice(max(0, w.start - 5), w.stop + 5) for w in window)
        bubble = ndimage.binary_dilation(labels[wide] == label, structure=plane, iterations=2)
        if _is_walled(bubble, volume.hu[wide], plane):
            found[wide] |= bubble
    return found & air


def _is_walled(bubble: Bools, hu: Float32, plane: Bools) -> bool:
    """Whether tissue surrounds a bubble in its slices, and no lung lies below it, as it does below a bulla."""
    rim = ndimage.binary_dilation(bubble, structure=plane, iterations=2) & ~bubble
    below = np.zeros_like(bubble)
    below[:-1] = bubble[1:] & ~bubble[:-1]
    lung_below = np.count_nonzero((hu[below] < AIR_HU) & (hu[below] > GAS_HU))
    walled = np.count_nonzero(hu[rim] > AIR_HU)
    return bool(walled >= BUBBLE_WALL_SHARE * rim.sum() and lung_below <= LUNG_BELOW_SHARE * below.sum())


def _middle(volume: Volume, outside: Bools) -> float:
    """Of the body, in mm to the patient's right."""
    return float(np.median(volume.rightward[~outside & (volume.hu > -150)]))


def _outline_threshold(volume: Volume, sides: Labels, outside: Bools) -> float:
    """Half way between lung and tissue (Hu 2001, doi:10.1109/42.929615)."""
    lung = float(volume.hu[sides > 0].mean())
    tissue = float(volume.hu[~outside & (volume.hu > -150)].mean())
    return float(np.clip((lung + tissue) / 2, *OUTLINE_HU))


def _plan(volume: Volume, sides: Labels, barred: Bools) -> Labels:
    """Per coarse voxel: 0 nothing, 1 or 2 lung as a whole, 3 or 4 lung where the image is dark."""
    plan = np.zeros(sides.shape, dtype=np.uint8)
    near = volume.neighbours()
    filled = {}
    for side, other in ((RIGHT, LEFT), (LEFT, RIGHT)):
        lung = closed(sides == side, CLOSING_MM, volume.spacing)
        filled[side] = ndimage.binary_fill_holes(lung) & ~barred & (sides != other)
    for side, other in ((RIGHT, LEFT), (LEFT, RIGHT)):
        band = ndimage.binary_dilation(filled[side], structure=near) & ~barred & ~filled[other] & (plan == 0)
        plan[band] = side + _BAND
    for side in (RIGHT, LEFT):
        whole = ndimage.binary_erosion(filled[side] | barred, structure=near, iterations=RIM, border_value=1)
        plan[whole & filled[side] & (plan == side + _BAND)] = side
    return plan


def _draw(labels: Labels, image: Float32, plan: Labels, volume: Volume, threshold: float) -> None:
    """Carry the plan over to the voxels of the image, slice by slice."""
    factors = volume.factors
    smallest = SPECK_MM2 * factors[1] * factors[2] / (volume.spacing[1] * volume.spacing[2])
    rows, columns = (np.arange(n) // f for n, f in zip(image.shape[1:], factors[1:], strict=True))
    for index in range(image.shape[0]):
        coarse = plan[index // factors[0]]
        if not coarse.any():
            continue
        fine = coarse[rows[:, None], columns[None, :]]
        band = fine > _BAND
        fine[band] -= _BAND
        fine[band & (image[index] >= threshold)] = 0
        labels[index] = _without_specks(fine, smallest)


def _without_specks(fine: Labels, smallest: float) -> Labels:
    pieces, sizes = components(fine > 0)
    keep = sizes >= smallest
    keep[0] = False
    return fine * keep[pieces]
