"""Truth and result of segmentations compared: overlap, surfaces and volumes. With intervals.

Distances and overlap are MONAI's. Intervals hold 95 % of the means of 2,000 resamples of the cases (percentile
bootstrap, Efron 1979, doi:10.1214/aos/1176344552), drawn from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance

RESAMPLES = 2000
_SEED = 20261126
_PERCENTILES = (2.5, 97.5)

Array = npt.NDArray[Any]


def of_segment(found: Array, truth: Array, spacing: Sequence[float]) -> dict[str, float | None]:
    """Scores of one segment in one case.

    ``found`` and ``truth`` are boolean (slice, row, column), ``spacing`` mm along those axes. What cannot be said where
    one of them is empty is None.

    Returns:
        ``dice``, ``surface_distance_mm`` (mean of both directions), ``hausdorff_95_mm``, ``volume_ml``,
        ``truth_volume_ml``, ``volume_error_percent`` (signed), ``sensitivity`` and ``precision`` of voxels.
    """
    a, b = (torch.as_tensor(mask.astype(np.float32))[None, None] for mask in (found, truth))
    both, ml = float((a * b).sum()), float(np.prod(spacing)) / 1000
    held, wanted = float(a.sum()), float(b.sum())
    empty = not held or not wanted
    mm = list(spacing)
    return {
        "dice": float(compute_dice(a, b, ignore_empty=False)) if held or wanted else None,
        "surface_distance_mm": None
        if empty
        else float(compute_average_surface_distance(a, b, include_background=True, symmetric=True, spacing=mm)),
        "hausdorff_95_mm": None
        if empty
        else float(compute_hausdorff_distance(a, b, include_background=True, percentile=95, spacing=mm)),
        "volume_ml": held * ml,
        "truth_volume_ml": wanted * ml,
        "volume_error_percent": 100 * (held - wanted) / wanted if wanted else None,
        "sensitivity": both / wanted if wanted else None,
        "precision": both / held if held else None,
    }


def summary(cases: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, Any]]:
    """Mean and its interval of each score over the cases that have it; of the volume error also of its size."""
    told = {}
    columns = {score: [case[score] for case in cases] for score in cases[0]}
    columns["absolute_volume_error_percent"] = [
        None if error is None else abs(error) for error in columns["volume_error_percent"]
    ]
    for score, column in columns.items():
        values = np.array([value for value in column if value is not None], dtype=np.float64)
        means = [float(values[chosen].mean()) for chosen in resamples(len(values))] if len(values) else []
        told[score] = interval(float(values.mean()) if len(values) else None, means, len(values))
    return told


def resamples(count: int) -> list[Array]:
    """Indices of the cases of each resample; none where there are no cases."""
    generator = np.random.default_rng(_SEED)
    return [generator.integers(0, count, count) for _ in range(RESAMPLES)] if count else []


def interval(mean: float | None, drawn: Sequence[float | None], count: int) -> dict[str, Any]:
    """``mean``, ``low`` and ``high`` of the interval, ``cases``."""
    known = [value for value in drawn if value is not None]
    low, high = np.percentile(known, _PERCENTILES) if known else (None, None)
    number: Callable[[Any], float | None] = lambda value: None if value is None else round(float(value), 4)  # noqa: E731
    return {"mean": number(mean), "low": number(low), "high": number(high), "cases": count}
