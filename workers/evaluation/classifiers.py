"""Truth and answers of classifiers compared: class by class, and whether probabilities mean what they say.

Intervals are those of :mod:`workers.evaluation.scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from workers.evaluation.scores import interval, resamples

SCORES = ("auc", "sensitivity", "specificity", "f1")
HELD = 0.9  # probability that the smallest set of classes must hold
BINS = 10  # of confidence

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Table = dict[str, dict[str, dict[str, Any]]]


def of_classes(probabilities: Float64, decided: Bools, truth: Bools, names: Sequence[str]) -> Table:
    """Scores class by class, and ``macro``, their mean; all arrays are (case, class).

    Returns:
        for each class and ``macro``: ``auc``, ``sensitivity``, ``specificity``, ``f1``, each with its interval. What
        cannot be said of a class, since all cases or none are of it, is None.
    """

    def measure(cases: npt.NDArray[Any]) -> list[dict[str, float]]:
        return [_one_class(probabilities[cases, at], decided[cases, at], truth[cases, at]) for at in range(len(names))]

    every = measure(np.arange(len(truth)))
    drawn = [measure(cases) for cases in resamples(len(truth))]
    groups = {name: [at] for at, name in enumerate(names)} | {"macro": list(range(len(names)))}
    return {
        name: {
            score: interval(
                _mean([every[at][score] for at in group]),
                [_mean([draw[at][score] for at in group]) for draw in drawn],
                len(truth),
            )
            for score in SCORES
        }
        for name, group in groups.items()
    }


def calibration(probabilities: Float64, truth: Bools, decided_from: float = 0.0) -> dict[str, Any]:
    """Whether the probabilities of classes that exclude each other, (case, class), mean what they say.

    Returns:
        ``ece``, expected calibration error (Naeini 2015, doi:10.1609/aaai.v29i1.9602): mean distance of confidence and
        accuracy over ten bins of confidence, weighed by cases; ``bins`` with ``confidence``, ``accuracy``, ``cases``;
        ``coverage``, the share of cases whose class is in the smallest set of classes that hold 90 %, and
        ``set_size``, the mean number in it; ``decided``, the share of cases at ``decided_from`` or above, and
        ``accuracy_of_decided``.
    """
    confidence, best = probabilities.max(axis=1), probabilities.argmax(axis=1)
    right = truth[np.arange(len(truth)), best]
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        {
            "confidence": round(float(confidence[which == at].mean()), 4),
            "accuracy": round(float(right[which == at].mean()), 4),
            "cases": int((which == at).sum()),
        }
        for at in range(BINS)
        if (which == at).any()
    ]
    error = sum(abs(each["confidence"] - each["accuracy"]) * each["cases"] for each in bins) / len(truth)
    order = np.argsort(-probabilities, axis=1)
    before = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
    taken = np.concatenate([np.zeros((len(truth), 1)), before[:, :-1]], axis=1) < HELD
    held = (np.take_along_axis(truth, order, axis=1) & taken).any(axis=1)
    sure = confidence >= decided_from
    return {
        "ece": round(error, 4),
        "bins": bins,
        "coverage": round(float(held.mean()), 4),
        "set_size": round(float(taken.sum(axis=1).mean()), 3),
        "decided": round(float(sure.mean()), 4),
        "accuracy_of_decided": round(float(right[sure].mean()), 4) if sure.any() else None,
    }


def curve(probability: Float64, truth: Bools) -> tuple[Float64, Float64]:
    """False and true positive rates at falling thresholds, of one class; from 0 to 1."""
    order = np.argsort(-probability, kind="stable")
    hits, false = np.cumsum(truth[order]), np.cumsum(~truth[order])
    last = np.flatnonzero(np.diff(probability[order], append=-1.0))  # of each threshold
    rates = [np.concatenate([[0.0], count[last] / max(1, int(count[-1]))]) for count in (false, hits)]
    return rates[0], rates[1]


def _one_class(probability: Float64, decided: Bools, is_class: Bools) -> dict[str, float]:
    hits, missed = float((decided & is_class).sum()), float((~decided & is_class).sum())
    false, rejected = float((decided & ~is_class).sum()), float((~decided & ~is_class).sum())
    return {
        "auc": _auc(probability, is_class),
        "sensitivity": _share(hits, hits + missed),
        "specificity": _share(rejected, rejected + false),
        "f1": _share(2 * hits, 2 * hits + missed + false),
    }


def _auc(probability: Float64, is_class: Bools) -> float:
    """Area under the receiver operating characteristic, by ranks (Mann and Whitney)."""
    positive, negative = int(is_class.sum()), int((~is_class).sum())
    if not positive or not negative:
        return float("nan")
    ranks = float(rankdata(probability)[is_class].sum())
    return (ranks - positive * (positive + 1) / 2) / (positive * negative)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _mean(values: Sequence[float]) -> float | None:
    kept = [value for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else None
