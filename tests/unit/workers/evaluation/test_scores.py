"""Scores against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from workers.evaluation import scores


def block(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[start:stop, 2:8, 2:8] = True
    return mask


def test_a_shifted_block_along_the_thick_slices() -> None:
    found = scores.of_segment(block(3, 9), block(2, 8), (2.0, 1.0, 1.0))

    assert found["dice"] == pytest.approx(5 / 6)
    assert found["sensitivity"] == pytest.approx(5 / 6)
    assert found["volume_ml"] == found["truth_volume_ml"] == pytest.approx(6 * 36 * 2 / 1000)
    assert found["volume_error_percent"] == 0
    assert found["hausdorff_95_mm"] == pytest.approx(2.0)
    assert 0 < found["surface_distance_mm"] < 2


def test_the_same_twice_is_perfect_and_a_larger_one_is_too_large() -> None:
    same = scores.of_segment(block(2, 8), block(2, 8), (1.0, 1.0, 1.0))
    larger = scores.of_segment(block(2, 11), block(2, 8), (1.0, 1.0, 1.0))

    assert (same["dice"], same["surface_distance_mm"], same["precision"]) == (1, 0, 1)
    assert larger["volume_error_percent"] == pytest.approx(50)
    assert larger["precision"] == pytest.approx(2 / 3)


def test_what_an_empty_mask_cannot_tell_is_left_open() -> None:
    nothing = np.zeros((12, 12, 12), dtype=bool)
    missed = scores.of_segment(nothing, block(2, 8), (1.0, 1.0, 1.0))
    neither = scores.of_segment(nothing, nothing, (1.0, 1.0, 1.0))

    assert (missed["dice"], missed["sensitivity"]) == (0, 0)
    assert missed["surface_distance_mm"] is missed["precision"] is None
    assert neither["dice"] is neither["volume_error_percent"] is None


def test_an_interval_holds_its_mean_and_shrinks_with_more_cases() -> None:
    values = np.random.default_rng(1).normal(0.9, 0.02, 64)
    rows = [{"dice": float(v), "volume_error_percent": float(v) - 1} for v in values]
    few, many = scores.summary(rows[:8])["dice"], scores.summary(rows)["dice"]

    assert many["low"] < many["mean"] < many["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]
    assert (few["cases"], many["cases"]) == (8, 64)
    assert scores.summary(rows)["absolute_volume_error_percent"]["mean"] > 0
    assert scores.summary([{"dice": None, "volume_error_percent": None}])["dice"]["mean"] is None
