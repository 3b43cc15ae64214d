"""A thorax as a function of position: which tissue is where, in patient coordinates (LPS, mm).

Origin in the middle of the chest; +x to the patient's left, +y to the back, +z to the head. Nothing here knows of
voxels: :func:`paint` is given the positions of the pixels of one plane, however that plane lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Point = tuple[float, float, float]

AIR_HU, FAT_HU, MUSCLE_HU, SOFT_HU, BONE_HU = -1000, -95, 45, 40, 320
LUNG_HU, LUNG_GRADIENT_HU_PER_MM = -862.0, 0.25  # denser towards the back, where blood settles
EMPHYSEMA_HU = -985.0
TABLE_SHELL_HU, TABLE_FOAM_HU = -150, -930

RIGHT, LEFT = 1, 2


@dataclass(frozen=True, slots=True)
class Tube:
    """A straight tube with round ends."""

    start: Point
    end: Point
    radius: float  # mm


TRACHEA_AND_BRONCHI = (
    Tube((0.0, 18.0, 220.0), (0.0, 18.0, 35.0), 9.0),
    Tube((0.0, 18.0, 35.0), (-46.0, 24.0, 2.0), 7.0),
    Tube((0.0, 18.0, 35.0), (50.0, 26.0, -4.0), 6.0),
)
AIRWAY_WALL_MM = 1.8
EMPHYSEMA = (((-76.0, -4.0, 56.0), 44.0), ((76.0, 2.0, 56.0), 38.0))  # spheres: centre, radius in mm
BOWEL_GAS = (
    Tube((62.0, -28.0, -122.0), (88.0, -20.0, -126.0), 19.0),  # stomach
    Tube((-60.0, -62.0, -150.0), (20.0, -66.0, -150.0), 14.0),  # colon
)


def _vessel_tree(side: float) -> tuple[Tube, ...]:
    """Branches from the hilum outwards; ``side`` is -1 for the right lung, 1 for the left."""
    hilum = (side * 34.0, 20.0, 0.0)
    ends = [
        (88.0, -30.0, 60.0), (60.0, 30.0, 85.0), (108.0, 15.0, 20.0), (100.0, -20.0, -5.0), (80.0, 60.0, 30.0),
        (95.0, 45.0, -40.0), (75.0, 62.0, -50.0), (60.0, 5.0, 70.0), (110.0, 20.0, -45.0), (70.0, -45.0, 30.0),
    ]  # fmt: skip
    return tuple(Tube(hilum, (side * x, y, z), 2.0 + 1.8 * (index % 3 == 0)) for index, (x, y, z) in enumerate(ends))


VESSELS = (*_vessel_tree(-1.0), *_vessel_tree(1.0))


@dataclass(frozen=True, slots=True)
class Plane:
    """Positions of the pixels of one plane, LPS mm; each array has axes (row, column), float32."""

    x: Float32
    y: Float32
    z: Float32

    @property
    def bounds(self) -> tuple[Point, Point]:
        """Lowest and highest x, y and z in the plane."""
        axes = (self.x, self.y, self.z)
        low = tuple(float(a.min()) for a in axes)
        high = tuple(float(a.max()) for a in axes)
        return low, high  # type: ignore[return-value]


def paint(plane: Plane, *, table_behind: bool) -> tuple[Float32, npt.NDArray[np.uint8]]:
    """Attenuation (HU, float32) and true lungs (uint8: 1 right, 2 left) of a plane, axes (row, column).

    ``table_behind``: the patient lies on the back; otherwise on the belly.
    """
    hu = np.full(plane.x.shape, AIR_HU, dtype=np.float32)
    _paint_table(hu, plane, table_behind)
    _paint_wall(hu, plane)
    for tube in BOWEL_GAS:
        hu[_inside_tube(plane, tube)] = AIR_HU
    lungs = _lungs(plane)
    airway_walls = np.zeros(hu.shape, dtype=np.bool_)
    airways = np.zeros(hu.shape, dtype=np.bool_)
    for tube in TRACHEA_AND_BRONCHI:
        airways |= _inside_tube(plane, tube)
        airway_walls |= _inside_tube(plane, Tube(tube.start, tube.end, tube.radius + AIRWAY_WALL_MM))
    lungs[airway_walls] = 0
    inside = lungs > 0
    hu[inside] = LUNG_HU + LUNG_GRADIENT_HU_PER_MM * plane.y[inside]
    for centre, radius in EMPHYSEMA:
        hu[_inside_tube(plane, Tube(centre, centre, radius)) & inside] = EMPHYSEMA_HU
    for tube in VESSELS:
        hu[_inside_tube(plane, tube) & inside] = SOFT_HU
    hu[airway_walls] = SOFT_HU
    hu[airways] = AIR_HU
    return hu, lungs


def _inside_tube(plane: Plane, tube: Tube) -> Bools:
    inside = np.zeros(plane.x.shape, dtype=np.bool_)
    start, end = np.asarray(tube.start, dtype=np.float32), np.asarray(tube.end, dtype=np.float32)
    low, high = np.minimum(start, end) - tube.radius, np.maximum(start, end) + tube.radius
    plane_low, plane_high = plane.bounds
    if bool(np.any(low > plane_high)) or bool(np.any(high < plane_low)):
        return inside
    near = (plane.x >= low[0]) & (plane.x <= high[0]) & (plane.y >= low[1]) & (plane.y <= high[1])
    near &= (plane.z >= low[2]) & (plane.z <= high[2])
    if not near.any():
        return inside
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    dx, dy, dz = plane.x[window] - start[0], plane.y[window] - start[1], plane.z[window] - start[2]
    axis = end - start
    along = (dx * axis[0] + dy * axis[1] + dz * axis[2]) / max(float(axis @ axis), 1e-9)
    along = np.clip(along, 0, 1)
    square = (dx - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2 + (dz - along * axis[2]) ** 2
    inside[window] = square <= tube.radius**2
    return inside


def _oval(plane: Plane, width: float, depth: float) -> Float32:
    """Below 1 inside a rounded rectangle of those half axes (mm) around the body's axis."""
    return np.asarray((np.abs(plane.x) / width) ** 2.5 + (np.abs(plane.y) / depth) ** 2.5, dtype=np.float32)


def _paint_table(hu: Float32, plane: Plane, behind: bool) -> None:
    height = (plane.y if behind else -plane.y) - 113.0  # mm under the patient
    slab = (height >= 0) & (height <= 24) & (np.abs(plane.x) <= 190)
    hu[slab] = TABLE_FOAM_HU
    hu[slab & ((height < 2.5) | (height > 21.5) | (np.abs(plane.x) > 187))] = TABLE_SHELL_HU


def _paint_wall(hu: Float32, plane: Plane) -> None:
    skin = _oval(plane, 168, 112)
    hu[skin <= 1] = FAT_HU
    hu[_oval(plane, 150, 96) <= 1] = MUSCLE_HU
    cage = _oval(plane, 146, 92)
    ribs = (cage <= 1) & (_oval(plane, 139, 85) >= 1) & (np.mod(plane.z + 0.35 * plane.y, 26.0) < 10)
    spine = (plane.x**2 + (plane.y - 66) ** 2) <= 20**2
    sternum = (np.abs(plane.x) <= 16) & (np.abs(plane.y + 88) <= 6) & (np.abs(plane.z - 20) <= 75)
    hu[ribs | spine | sternum] = BONE_HU


def _lungs(plane: Plane) -> npt.NDArray[np.uint8]:
    """Both lungs: rounded cones above the diaphragm, outside mediastinum, heart and spine; they touch in front."""
    outward = np.abs(plane.x) - 64
    top = np.clip((plane.z + 20) / 145, 0, None)
    shape = (np.abs(outward) / 70) ** 3 + (np.abs(plane.y) / 82) ** 3 + top**3
    dome_height = np.where(plane.x < 0, 42.0, 32.0)
    dome = -112 + dome_height * np.exp(-((np.abs(plane.x) - 62) ** 2 + (plane.y + 5) ** 2) / (2 * 46.0**2))
    aerated = (shape <= 1) & (plane.z >= dome)
    mediastinum = (np.abs(plane.x) / 33) ** 2 + ((plane.y - 22) / 62) ** 2 <= 1
    heart = ((plane.x - 22) / 54) ** 2 + ((plane.y + 22) / 46) ** 2 + ((plane.z + 58) / 52) ** 2 <= 1
    spine = plane.x**2 + (plane.y - 66) ** 2 <= 27**2
    aerated &= ~(mediastinum | heart | spine) & (_oval(plane, 138, 84) <= 1)
    return np.where(aerated, np.where(plane.x < 0, RIGHT, LEFT), 0).astype(np.uint8)
