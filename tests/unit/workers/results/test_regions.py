import numpy as np
import pytest
from result_cases import findings_on, series

from workers.results.regions import polygons

GRID = findings_on(series(6)).grid  # 2.5 mm between slices


def box(low: list[float], high: list[float]) -> np.ndarray:
    """Corners in LPS of a box along the axes of the grid, given by indices."""
    ends = np.array([low, high])
    index = [[ends[a, 0], ends[b, 1], ends[c, 2]] for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    corners = np.asarray(index)[[0, 4, 2, 6, 1, 5, 3, 7]]  # bit 0 of a corner's number is its first axis
    return GRID.index_to_lps(corners)


def test_a_box_is_a_closed_rectangle_on_each_slice_that_it_meets() -> None:
    found = [GRID.lps_to_index(polygon) for polygon in polygons(box([0.5, 2, 3], [3.5, 6, 8]), GRID)]

    assert [float(polygon[:, 0].mean().round(6)) for polygon in found] == [1, 2, 3]
    for polygon in found:
        assert polygon[0] == pytest.approx(polygon[-1])
        assert len(polygon) == 5
        assert polygon[:, 1:].min(axis=0) == pytest.approx([2, 3])
        assert polygon[:, 1:].max(axis=0) == pytest.approx([6, 8])


def test_a_box_between_two_slices_is_cut_near_its_ends() -> None:
    found = [GRID.lps_to_index(polygon)[0, 0] for polygon in polygons(box([1.2, 2, 3], [1.4, 6, 8]), GRID)]

    assert found == pytest.approx([1.2, 1.4], abs=1e-3)


def test_a_box_that_stands_oblique_is_cut_as_it_stands() -> None:
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    upright = box([1, 2, 3], [5, 6, 8])
    corners = (upright - upright.mean(axis=0)) @ turn + upright.mean(axis=0)

    for polygon in polygons(corners, GRID):
        inside = (polygon - corners.mean(axis=0)) @ turn.T
        half = (upright.max(axis=0) - upright.min(axis=0)) / 2
        assert (np.abs(inside) <= half + 1e-6).all()
        assert 4 <= len(polygon) <= 7
