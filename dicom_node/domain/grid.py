"""Where voxels are: the one place in which image planes become a volume's geometry.

Frame: DICOM patient coordinates, LPS (+x to the patient's left, +y to posterior, +z to the head), in mm.
Arrays: axes (slice, row, column), index base 0, at voxel centres. RAS appears only at a bundle's door
(:meth:`VoxelGrid.ras_affine_whd`). Plane geometry follows PS3.3 C.7.6.2.1.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.errors import GeometryError

Float64 = npt.NDArray[np.float64]

# Cosines of the same plane written by different slices agree to about 1e-6; 1e-3 is 0.06 degrees.
ORIENTATION_TOLERANCE = 1e-3
# Positions are written with 1e-3 to 1e-6 mm. A gap is a step that differs from the others by this share.
SPACING_TOLERANCE = 0.05
# Slice centres may drift within the plane by this share of a pixel per slice before the stack counts as sheared.
SHEAR_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class ImagePlane:
    """Geometry of one image, as its header gives it."""

    rows: int
    columns: int
    pixel_spacing: tuple[float, float]  # mm between rows, mm between columns (0028,0030)
    orientation: tuple[float, float, float, float, float, float]  # (0020,0037): along a row, then along a column
    position: tuple[float, float, float]  # (0020,0032): LPS mm of the centre of the first pixel

    def normal(self) -> Float64:
        """Unit vector perpendicular to the plane: row direction x column direction, in LPS."""
        along_row, along_column = np.reshape(np.asarray(self.orientation, dtype=np.float64), (2, 3))
        return np.asarray(np.cross(along_row, along_column), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class VoxelGrid:
    """A regular grid of voxels in the patient.

    ``shape`` is (slices, rows, columns). ``affine`` is 4x4 float64, rows as nested tuples; it takes the index
    (slice, row, column, 1) of a voxel to the LPS position of its centre in mm.
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, float, float, float], ...]

    def __post_init__(self) -> None:
        matrix = self.matrix()
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise GeometryError("the affine of a grid must be 4x4 and finite", reason="bad-affine")
        if abs(float(np.linalg.det(matrix[:3, :3]))) < 1e-9:
            raise GeometryError("the axes of a grid must span the space", reason="bad-affine")
        if min(self.shape) < 1:
            raise GeometryError(f"a grid has at least one voxel along each axis, not {self.shape}", reason="bad-shape")

    @classmethod
    def from_matrix(cls, shape: Sequence[int], matrix: npt.ArrayLike) -> VoxelGrid:
        """A grid of ``shape`` (slices, rows, columns) whose (slice, row, column) -> LPS affine is ``matrix``."""
        rows = np.asarray(matrix, dtype=np.float64)
        slices, height, width = (int(n) for n in shape)
        affine: Any = tuple(tuple(float(v) for v in row) for row in rows)
        return cls((slices, height, width), affine)

    def matrix(self) -> Float64:
        """The affine as a float64 array, 4x4."""
        return np.asarray(self.affine, dtype=np.float64)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres in mm: between slices, rows, columns."""
        between = np.linalg.norm(self.matrix()[:3, :3], axis=0)
        return float(between[0]), float(between[1]), float(between[2])

    @property
    def directions(self) -> Float64:
        """3x3, columns are the LPS unit vectors along increasing slice, row and column index."""
        axes = self.matrix()[:3, :3]
        return np.asarray(axes / np.linalg.norm(axes, axis=0), dtype=np.float64)

    @property
    def origin(self) -> tuple[float, float, float]:
        """LPS position of the centre of voxel (0, 0, 0) in mm."""
        x, y, z = self.matrix()[:3, 3]
        return float(x), float(y), float(z)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm3."""
        return abs(float(np.linalg.det(self.matrix()[:3, :3])))

    def index_to_lps(self, indices: npt.ArrayLike) -> Float64:
        """LPS mm, shape (n, 3), of (slice, row, column) indices of shape (n, 3)."""
        matrix = self.matrix()
        return np.asarray(np.asarray(indices, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3], dtype=np.float64)

    def lps_to_index(self, points: npt.ArrayLike) -> Float64:
        """Fractional (slice, row, column) indices, shape (n, 3), of LPS points in mm of shape (n, 3)."""
        matrix = self.matrix()
        shifted = np.asarray(points, dtype=np.float64) - matrix[:3, 3]
        return np.asarray(shifted @ np.linalg.inv(matrix[:3, :3]).T, dtype=np.float64)

    def ras_affine_whd(self) -> Float64:
        """The affine of the transposed array (column, row, slice) = (W, H, D) to RAS mm, as MONAI expects it."""
        matrix = self.matrix()[:, [2, 1, 0, 3]]
        return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix, dtype=np.float64)

    def plane(self, index: int) -> ImagePlane:
        """The image plane of one slice."""
        step = self.matrix()[:3, :3]
        position = self.index_to_lps([[index, 0, 0]])[0]
        along_row, along_column = step[:, 2] / np.linalg.norm(step[:, 2]), step[:, 1] / np.linalg.norm(step[:, 1])
        _, row_spacing, column_spacing = self.spacing
        cosines: Any = tuple(float(v) for v in (*along_row, *along_column))
        return ImagePlane(
            rows=self.shape[1],
            columns=self.shape[2],
            pixel_spacing=(row_spacing, column_spacing),
            orientation=cosines,
            position=(float(position[0]), float(position[1]), float(position[2])),
        )


def stack(planes: Sequence[ImagePlane], *, thickness: float | None = None) -> tuple[VoxelGrid, tuple[int, ...]]:
    """Order image planes along their normal and give the grid that they form.

    Returns the grid and, per slice of it, the index of its plane in ``planes``. A single plane takes its slice
    step from ``thickness`` (mm, Slice Thickness).

    Raises:
        GeometryError: with ``reason`` one of ``no-images``, ``bad-plane``, ``mixed-sizes``, ``mixed-orientation``,
            ``mixed-spacing``, ``duplicate-position``, ``missing-slice``, ``uneven-spacing``, ``gantry-tilt``,
            ``no-thickness``.
    """
    if not planes:
        raise GeometryError("there is no image in the series", reason="no-images")
    _check_same_plane(planes)
    first = planes[0]
    normal = first.normal()
    positions = np.asarray([p.position for p in planes], dtype=np.float64)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    step = _slice_step(positions[order], along[order], normal, min(first.pixel_spacing), thickness)
    along_row, along_column = np.reshape(np.asarray(first.orientation, dtype=np.float64), (2, 3))
    matrix = np.eye(4)
    matrix[:3, 0] = step
    matrix[:3, 1] = along_column * first.pixel_spacing[0]
    matrix[:3, 2] = along_row * first.pixel_spacing[1]
    matrix[:3, 3] = positions[order[0]]
    grid = VoxelGrid.from_matrix((len(planes), first.rows, first.columns), matrix)
    return grid, tuple(int(i) for i in order)


def _check_same_plane(planes: Sequence[ImagePlane]) -> None:
    first = planes[0]
    cosines = np.asarray([p.orientation for p in planes], dtype=np.float64)
    row, column = cosines[0, :3], cosines[0, 3:]
    unit = abs(np.linalg.norm(row) - 1) < 1e-2 and abs(np.linalg.norm(column) - 1) < 1e-2 and abs(row @ column) < 1e-2
    if not unit or min(first.pixel_spacing) <= 0:
        raise GeometryError(
            f"Image Orientation (Patient) {first.orientation} or Pixel Spacing {first.pixel_spacing} is no plane's",
            reason="bad-plane",
        )
    sizes = {(p.rows, p.columns) for p in planes}
    if len(sizes) > 1:
        raise GeometryError(
            f"the series holds images of different sizes (rows x columns): {sorted(sizes)}",
            reason="mixed-sizes",
            remedy="send the series without its localizer or reformatted images",
        )
    if float(np.abs(cosines - cosines[0]).max()) > ORIENTATION_TOLERANCE:
        raise GeometryError(
            "the series holds images of different orientations",
            reason="mixed-orientation",
            remedy="split the series by Image Orientation (Patient) at the modality and send it again",
        )
    spacings = np.asarray([p.pixel_spacing for p in planes], dtype=np.float64)
    if float(np.abs(spacings - spacings[0]).max()) > 1e-3 * float(spacings[0].max()):
        raise GeometryError("the series holds images of different Pixel Spacing", reason="mixed-spacing")


def _slice_step(positions: Float64, along: Float64, normal: Float64, pixel: float, thickness: float | None) -> Float64:
    """LPS vector from one slice to the next, of positions sorted along ``normal``."""
    if len(positions) == 1:
        if not thickness or thickness <= 0:
            raise GeometryError("a single image without Slice Thickness has no depth", reason="no-thickness")
        return normal * thickness
    steps = np.diff(along)
    usual = float(np.median(steps))
    if usual <= 0 or float(steps.min()) < SPACING_TOLERANCE * usual:
        at = int(np.argmin(steps))
        raise GeometryError(
            f"two images lie at the same position ({along[at]:.2f} mm along the slice normal)",
            reason="duplicate-position",
            remedy="the series holds several phases, echoes or reconstructions; send each as a series of its own",
        )
    worst = int(np.argmax(np.abs(steps - usual)))
    if abs(steps[worst] - usual) > SPACING_TOLERANCE * usual:
        _raise_uneven(along, steps, usual, worst)
    step = np.asarray((positions[-1] - positions[0]) / (len(positions) - 1), dtype=np.float64)
    sideways = float(np.linalg.norm(step - normal * (step @ normal)))
    if sideways > SHEAR_TOLERANCE * max(pixel, usual):
        raise GeometryError(
            f"each slice is shifted by {sideways:.3f} mm within its plane: the gantry was tilted",
            reason="gantry-tilt",
            remedy="send a series that the scanner has resampled without tilt",
        )
    straight = positions[0] + np.arange(len(positions))[:, None] * step
    if float(np.abs(positions - straight).max()) > max(SPACING_TOLERANCE * usual, 0.01):
        raise GeometryError("the slices do not lie on a straight line", reason="uneven-spacing")
    return step


def _raise_uneven(along: Float64, steps: Float64, usual: float, worst: int) -> None:
    least = float(steps.min())
    whole = steps / least
    if np.all(np.abs(whole - np.round(whole)) <= SPACING_TOLERANCE * np.maximum(1, np.round(whole))):
        gaps = [int(i) for i in np.flatnonzero(np.round(whole) > 1)]
        missing = int(sum(round(float(whole[i])) - 1 for i in gaps))
        where = ", ".join(f"between {along[i]:.2f} and {along[i + 1]:.2f} mm" for i in gaps[:3])
        raise GeometryError(
            f"{missing} slice(s) missing {where} along the slice normal (step {least:.3f} mm)",
            reason="missing-slice",
            remedy="send the missing images; if they do not exist, reconstruct the series again",
        )
    raise GeometryError(
        f"the slices are unevenly spaced: {steps[worst]:.3f} mm after {along[worst]:.2f} mm, usually {usual:.3f} mm",
        reason="uneven-spacing",
        remedy="reconstruct the series with one slice increment",
    )
