"""The geometry of volumes: laws of the grid, and each way in which images form none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.grid import ImagePlane, VoxelGrid, stack
from dicom_node.errors import GeometryError

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _rotation(angles: tuple[float, float, float]) -> np.ndarray:
    (a, b, c), turns = angles, np.eye(3)
    for axis, angle in ((0, a), (1, b), (2, c)):
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        turns = turn @ turns
    return turns


@st.composite
def grids(draw: st.DrawFn) -> VoxelGrid:
    """Grids of any orientation that a stack of images may have: slices along row direction x column direction."""
    angle, spacing = st.floats(-np.pi, np.pi), st.floats(0.2, 10)
    row, column, _ = _rotation((draw(angle), draw(angle), draw(angle))).T
    matrix = np.eye(4)
    matrix[:3, 0] = np.cross(row, column) * draw(spacing)
    matrix[:3, 1] = column * draw(spacing)
    matrix[:3, 2] = row * draw(spacing)
    matrix[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    size = st.integers(1, 40)
    return VoxelGrid.from_matrix((draw(size), draw(size), draw(size)), matrix)


def _axial(count: int = 5, step: float = 2.0) -> list[ImagePlane]:
    return [ImagePlane(4, 6, (0.5, 0.7), AXIAL, (-10.0, -20.0, step * number)) for number in range(count)]


@given(grids())
def test_a_grid_taken_apart_into_planes_stacks_again_to_itself(grid: VoxelGrid) -> None:
    planes = [grid.plane(number) for number in range(grid.shape[0])]

    again, order = stack(planes, thickness=grid.spacing[0])

    assert again.shape == grid.shape
    assert order == tuple(range(grid.shape[0]))
    np.testing.assert_allclose(again.matrix(), grid.matrix(), atol=1e-6)


@given(grids(), st.randoms(use_true_random=False))
def test_the_order_in_which_images_arrive_does_not_matter(grid: VoxelGrid, shuffle: Any) -> None:
    planes = [grid.plane(number) for number in range(grid.shape[0])]
    arrived = list(range(len(planes)))
    shuffle.shuffle(arrived)

    again, order = stack([planes[number] for number in arrived], thickness=grid.spacing[0])

    assert [arrived[place] for place in order] == list(range(len(planes)))
    np.testing.assert_allclose(again.matrix(), grid.matrix(), atol=1e-6)


@given(grids(), st.lists(st.tuples(*[st.floats(-1000, 1000)] * 3), min_size=1, max_size=5))
def test_to_indices_and_back(grid: VoxelGrid, points: list[tuple[float, float, float]]) -> None:
    np.testing.assert_allclose(grid.index_to_lps(grid.lps_to_index(points)), points, atol=1e-6)


@given(grids())
def test_ras_is_lps_with_two_signs_and_the_axes_turned_round(grid: VoxelGrid) -> None:
    slice_, row, column = (n - 1 for n in grid.shape)

    ras = grid.ras_affine_whd() @ [column, row, slice_, 1]

    np.testing.assert_allclose(ras[:3] * [-1, -1, 1], grid.index_to_lps([[slice_, row, column]])[0], atol=1e-9)


@given(grids())
def test_a_voxel_is_as_large_as_its_sides_say(grid: VoxelGrid) -> None:
    assert grid.voxel_volume == pytest.approx(np.prod(grid.spacing))
    np.testing.assert_allclose(grid.directions.T @ grid.directions, np.eye(3), atol=1e-9)


def test_pixel_spacing_is_between_rows_first() -> None:
    grid, _ = stack(_axial())

    assert grid.spacing == (2.0, 0.5, 0.7)
    np.testing.assert_allclose(grid.index_to_lps([[1, 2, 3]])[0], [-10 + 3 * 0.7, -20 + 2 * 0.5, 2.0])


def test_a_single_image_takes_its_depth_from_its_thickness() -> None:
    grid, order = stack(_axial(1), thickness=8.0)

    assert (grid.spacing[0], order) == (8.0, (0,))


def _tilted() -> list[ImagePlane]:
    return [replace(plane, position=(-10.0, -20.0 + number, 2.0 * number)) for number, plane in enumerate(_axial())]


def _crooked() -> list[ImagePlane]:
    planes = _axial()
    planes[2] = replace(planes[2], position=(-8.0, -20.0, 4.0))
    return planes


@pytest.mark.parametrize(
    ("planes", "reason"),
    [
        ([], "no-images"),
        (_axial(1), "no-thickness"),
        (_axial()[:2] + _axial()[3:], "missing-slice"),
        ([*_axial(), _axial()[2]], "duplicate-position"),
        ([*_axial(), replace(_axial()[0], position=(-10.0, -20.0, 9.3))], "uneven-spacing"),
        (_crooked(), "uneven-spacing"),
        (_tilted(), "gantry-tilt"),
        ([*_axial(), replace(_axial()[0], rows=8)], "mixed-sizes"),
        ([*_axial(), replace(_axial()[0], pixel_spacing=(0.6, 0.7))], "mixed-spacing"),
        ([*_axial(), replace(_axial()[0], orientation=(1, 0, 0, 0, 0, -1))], "mixed-orientation"),
        ([replace(plane, orientation=(1, 0, 0, 1, 0, 0)) for plane in _axial()], "bad-plane"),
        ([replace(plane, pixel_spacing=(0.0, 0.7)) for plane in _axial()], "bad-plane"),
    ],
)
def test_images_that_form_no_volume_are_refused_by_name(planes: list[ImagePlane], reason: str) -> None:
    with pytest.raises(GeometryError) as refused:
        stack(planes)

    assert refused.value.reason == reason


def test_a_gap_is_told_with_its_place_and_size() -> None:
    planes = _axial(10)

    with pytest.raises(GeometryError, match=r"3 slice\(s\) missing between 2\.00 and 6\.00 mm, between 10\.00") as gap:
        stack(planes[:2] + planes[3:6] + planes[8:])

    assert "missing images" in gap.value.remedy


@pytest.mark.parametrize(
    ("shape", "matrix", "reason"),
    [
        ((1, 1, 1), np.zeros((4, 4)), "bad-affine"),
        ((1, 1, 1), np.full((4, 4), np.nan), "bad-affine"),
        ((0, 1, 1), np.eye(4), "bad-shape"),
    ],
)
def test_no_grid_exists_half_valid(shape: tuple[int, int, int], matrix: np.ndarray, reason: str) -> None:
    with pytest.raises(GeometryError) as refused:
        VoxelGrid.from_matrix(shape, matrix)

    assert refused.value.reason == reason
