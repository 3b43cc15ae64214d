"""Outlines along the edges of pixels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workers.results.outlines import Outline, outlines

masks = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def enclosed(outline: Outline, points: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """How often an outline goes round each point (x, y), clockwise on the screen; by the edges to the right of it."""
    turns = np.zeros(len(points), np.int64)
    for (x, y), (_, end) in pairwise(outline):
        crossed = (points[:, 0] < x) & (np.minimum(y, end) < points[:, 1]) & (points[:, 1] < np.maximum(y, end))
        turns += np.where(crossed, int(np.sign(end - y)), 0)
    return turns


@given(masks)
def test_what_is_enclosed_is_the_mask(mask: npt.NDArray[np.bool_]) -> None:
    """The centre of each pixel is gone round once where it is inside, and not at all where it is not."""
    rows, columns = np.indices(mask.shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    turns = sum((enclosed(each, centres) for each in outlines(mask)), np.zeros(mask.size, np.int64))
    assert np.array_equal(turns.reshape(mask.shape), mask.astype(np.int64))


@given(masks)
def test_each_outline_is_closed_turns_at_every_point_and_crosses_no_other(mask: npt.NDArray[np.bool_]) -> None:
    edges: set[tuple[float, ...]] = set()
    for outline in outlines(mask):
        steps = np.diff(outline, axis=0)
        assert np.array_equal(outline[0], outline[-1])
        assert ((steps == 0).sum(axis=1) == 1).all()
        assert not (np.sign(steps[1:]) == np.sign(steps[:-1])).all(axis=1).any()
        for (x, y), (dx, dy) in zip(outline[:-1], steps, strict=True):
            count = int(max(abs(dx), abs(dy)))
            pieces = {(x + dx / count * i, y + dy / count * i, np.sign(dx), np.sign(dy)) for i in range(count)}
            assert not pieces & edges
            edges |= pieces


def test_pixels_that_touch_at_a_corner_have_outlines_of_their_own() -> None:
    assert len(outlines(np.array([[True, False], [False, True]]))) == 2
    assert len(outlines(np.array([[False, True], [True, False]]))) == 2
