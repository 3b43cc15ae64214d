"""Regressions: their truth from ``truth.csv``, and how far what was measured agrees with it.

case,volume_ml          a column for each value of the model, in the unit of its contract
a,3.1
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.domain.output import ValueOutput
from dicom_node.errors import InputError
from workers.evaluation import tables
from workers.evaluation.cases import Case
from workers.evaluation.scores import interval, resamples

SCORES = ("mean_absolute_error", "bias", "lower_limit", "upper_limit", "icc")
_LIMITS = 1.96  # standard deviations that hold 95 %

Float64 = npt.NDArray[np.float64]


def find(folder: Path, output: ValueOutput, names: tuple[str, ...] | None = None) -> tuple[tuple[Case, ...], Float64]:
    """The cases in ``folder``, and the truth of each, (case, value) in the order and units of the output.

    Raises:
        InputError: the table is missing, lacks a column, holds something else than numbers, or names a case twice or
            one that has no image.
    """
    known = [spec.name for spec in output.values]
    remedy = f"a line for each case: case,{','.join(known)}"
    told: dict[str, list[float]] = {}
    for where, row in tables.read(folder, remedy):
        if str(row.get("case")) in told:
            raise InputError(f"{where}: a case stands in it twice", reason="truth-labels")
        told[str(row.get("case"))] = [_number(where, row.get(name), name) for name in known]
    cases = tables.chosen(folder, told, names)
    return cases, np.asarray([told[case.name] for case in cases], dtype=np.float64)


def of_values(found: Float64, truth: Float64) -> dict[str, dict[str, Any]]:
    """Agreement of one value with its truth, over the cases, each score with its interval.

    Returns:
        ``mean_absolute_error``; ``bias``, the mean of found - truth, with ``lower_limit`` and ``upper_limit``, the
        limits of agreement (Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8); ``icc``, the intraclass
        correlation for absolute agreement of single measurements, ICC(A,1) (McGraw and Wong 1996,
        doi:10.1037/1082-989X.1.1.30). What fewer than three cases cannot tell is None.
    """
    every = _scores(found, truth)
    drawn = [_scores(found[cases], truth[cases]) for cases in resamples(len(truth))]
    return {score: interval(every[score], [draw[score] for draw in drawn], len(truth)) for score in SCORES}


def _scores(found: Float64, truth: Float64) -> dict[str, float | None]:
    difference = found - truth
    bias, enough = float(difference.mean()), len(truth) > 2
    spread = float(difference.std(ddof=1)) if enough else math.nan
    return {
        "mean_absolute_error": float(np.abs(difference).mean()),
        "bias": bias,
        "lower_limit": bias - _LIMITS * spread if enough else None,
        "upper_limit": bias + _LIMITS * spread if enough else None,
        "icc": _icc(np.stack([found, truth], axis=1)) if enough else None,
    }


def _icc(rated: Float64) -> float | None:
    """ICC(A,1) of (case, rater); None where nothing varies."""
    cases, raters = rated.shape
    mean = rated.mean()
    between_cases = raters * float(((rated.mean(axis=1) - mean) ** 2).sum()) / (cases - 1)
    between_raters = cases * float(((rated.mean(axis=0) - mean) ** 2).sum()) / (raters - 1)
    rest = rated - rated.mean(axis=1, keepdims=True) - rated.mean(axis=0, keepdims=True) + mean
    error = float((rest**2).sum()) / ((cases - 1) * (raters - 1))
    whole = between_cases + (raters - 1) * error + raters * (between_raters - error) / cases
    return (between_cases - error) / whole if whole > 0 else None


def _number(where: str, text: str | None, name: str) -> float:
    try:
        number = float(text or "")
    except ValueError as error:
        raise InputError(f"{where}: {name} is {text!r}, no number", reason="truth-labels") from error
    if not math.isfinite(number):
        raise InputError(f"{where}: {name} is {text!r}, no number", reason="truth-labels")
    return number
