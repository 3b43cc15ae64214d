"""Outlines of masks along the edges of their pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Outline = npt.NDArray[np.float64]
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # (x, y) of the ways east, south, west and north


def outlines(mask: npt.NDArray[np.bool_]) -> list[Outline]:
    """The closed outlines of a mask (row, column), each (n, 2) as (x, y): the first point is the last one.

    The origin is the top left corner of the top left pixel, whose opposite corner is (1, 1) (PS3.3 C.10.5.1.2). Parts
    that touch at a corner alone have outlines of their own; holes have theirs, the other way round.
    """
    inside = np.pad(np.asarray(mask, dtype=np.bool_), 1)
    rows, columns = mask.shape
    starts = np.zeros((4, rows + 1, columns + 1), dtype=np.bool_)  # edges by way and starting corner, inside at right
    starts[0, :, :columns] = inside[1:, 1:-1] & ~inside[:-1, 1:-1]
    starts[1, :rows, :] = inside[1:-1, :-1] & ~inside[1:-1, 1:]
    starts[2, :, 1:] = inside[:-1, 1:-1] & ~inside[1:, 1:-1]
    starts[3, 1:, :] = inside[1:-1, 1:] & ~inside[1:-1, :-1]
    found = []
    for y, x in np.argwhere(starts[0]):
        if starts[0, y, x]:
            found.append(_follow(starts, int(x), int(y)))
    return found


def _follow(starts: npt.NDArray[np.bool_], x: int, y: int) -> Outline:
    """One outline from an edge that leads east; its edges are taken off ``starts``."""
    first, points, way = (x, y), [(x, y)], 0
    while True:
        x, y = x + _STEPS[way][0], y + _STEPS[way][1]
        turn = next(each for each in ((way + 1) % 4, way, (way + 3) % 4) if starts[each, y, x])
        starts[turn, y, x] = False
        if (x, y) == first and turn == 0:
            return np.asarray([*points, first], dtype=np.float64)
        if turn != way:
            points.append((x, y))
        way = turn
