"""Trachea and main bronchi: found from above as a round tube of air, then followed down to where they leak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .coarse import Bools, Ints, Volume, components

LUMEN_HU = -800.0  # a tube is darker than this in the mean of a coarse voxel
AREA_MM2 = (50.0, 900.0)  # of a trachea in cross-section
OFF_CENTRE_MM = 45.0  # farthest that a trachea lies from the middle of the body
SHORTEST_MM = 24.0  # shorter tubes are no trachea
GROWTH_HU = (-850.0, -880.0, -910.0, -940.0, -965.0)  # tried in turn, until the bronchi do not leak into the lung
THICK_MM = 3.0  # slices farther apart than this need not overlap for a tube to go on
BRONCHI_ML = 45.0  # more than this below the trachea is a leak


@dataclass(frozen=True, slots=True)
class _Ring:
    """One round piece of air in one slice."""

    z: int
    y: float
    x: float
    label: int
    area: float


def airways(volume: Volume, air: Bools) -> Bools:
    """Lumen of trachea, main and lobar bronchi, as a coarse mask; empty when there is no trachea in the image."""
    lumen = air & (volume.hu < LUMEN_HU)
    labels, sizes = components(lumen, volume.in_plane())
    chain = _longest_chain(_rings(volume, labels, sizes, air), volume)
    if (len(chain) - 1) * volume.spacing[0] < SHORTEST_MM:
        return np.zeros(air.shape, dtype=np.bool_)
    trachea = np.isin(labels, [ring.label for ring in chain])
    for threshold in GROWTH_HU:
        grown = trachea | _grown(volume, trachea, air & (volume.hu < threshold))
        if (int(grown.sum()) - int(trachea.sum())) * volume.voxel_ml <= BRONCHI_ML:
            return grown
    return trachea


def _grown(volume: Volume, seed: Bools, mask: Bools) -> Bools:
    """What of ``mask`` hangs together with ``seed``."""
    if volume.spacing[0] <= THICK_MM:
        labels, _ = components(mask)
        return _touched(labels, seed)
    # A bronchus that runs aslant shows in neighbouring thick slices side by side, not one above the other.
    labels, _ = components(mask, volume.in_plane())
    reach = round(0.6 * volume.spacing[0] / volume.spacing[1])
    grown = seed
    while True:
        wide = ndimage.binary_dilation(grown, structure=volume.in_plane(), iterations=reach)
        wide[1:] |= wide[:-1].copy()
        wide[:-1] |= wide[1:].copy()
        wider = grown | _touched(labels, wide)
        if np.array_equal(wider, grown) or wider.sum() * volume.voxel_ml > 20 * BRONCHI_ML:
            return wider
        grown = wider


def _touched(labels: npt.NDArray[np.int32], seed: Bools) -> Bools:
    chosen = np.zeros(int(labels.max()) + 1, dtype=np.bool_)
    chosen[labels[seed]] = True
    chosen[0] = False
    return np.asarray(chosen[labels])


def _rings(volume: Volume, labels: npt.NDArray[np.int32], sizes: Ints, air: Bools) -> list[_Ring]:
    """Round, central pieces of air of a trachea's size, from the head downwards."""
    pixel = volume.spacing[1] * volume.spacing[2]
    middle = float(np.median(volume.rightward[air])) if air.any() else 0.0
    rings = []
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        area = float(sizes[label]) * pixel
        if not AREA_MM2[0] <= area <= AREA_MM2[1]:
            continue
        piece = labels[window][0] == label
        height, width = (n * s for n, s in zip(piece.shape, volume.spacing[1:], strict=True))
        if max(height, width) > 2.5 * min(height, width):
            continue
        if area < 0.5 * height * width:
            continue
        y, x = (float(c) + w.start for c, w in zip(ndimage.center_of_mass(piece), window[1:], strict=True))
        z = window[0].start
        if abs(float(volume.rightward[z, round(y), round(x)]) - middle) <= OFF_CENTRE_MM:
            rings.append(_Ring(z, y, x, label, area))
    return sorted(rings, key=lambda ring: -ring.z)


def _longest_chain(rings: list[_Ring], volume: Volume) -> list[_Ring]:
    """The longest run of rings through neighbouring slices, each near the one above."""
    best: list[_Ring] = []
    chains: list[list[_Ring]] = []
    for ring in rings:
        above = [chain for chain in chains if _continues(chain[-1], ring, volume)]
        if above:
            chain = max(above, key=len)
            chain.append(ring)
        else:
            chain = [ring]
            chains.append(chain)
        best = max(best, chain, key=len)
    return best


def _continues(above: _Ring, ring: _Ring, volume: Volume) -> bool:
    """Whether ``ring`` may be the same tube one slice below."""
    reach = 5.0 + 0.6 * volume.spacing[0]
    apart = np.hypot((above.y - ring.y) * volume.spacing[1], (above.x - ring.x) * volume.spacing[2])
    return above.z == ring.z + 1 and bool(apart <= reach) and ring.area < 2.5 * above.area
