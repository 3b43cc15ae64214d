"""Detectors: their truth from ``truth.csv``, and the free-response curve.

case,x,y,z,diameter      a line for each lesion: centre in the patient (LPS, mm) and diameter in mm
a,-41.5,12.0,-210.3,8
b,,,,                    a case without one
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.errors import InputError
from workers.evaluation import tables
from workers.evaluation.cases import Case
from workers.evaluation.scores import interval, resamples

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives per case
_LEAST_RADIUS_MM = 3.0  # a mark this near a small lesion's centre still means it
_COLUMNS = ("x", "y", "z", "diameter")

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lesion:
    """One thing to be found: ``centre`` LPS mm."""

    centre: tuple[float, float, float]
    diameter_mm: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One case: ``scores`` of the marks that hit a lesion for the first time, and of those that hit none."""

    lesions: int
    hits: tuple[float, ...]
    false: tuple[float, ...]


def find(folder: Path, names: tuple[str, ...] | None = None) -> tuple[tuple[Case, ...], dict[str, tuple[Lesion, ...]]]:
    """The cases in ``folder``, and the lesions of each.

    Raises:
        InputError: the table is missing or holds something else, or names a case that has no image.
    """
    told: dict[str, list[Lesion]] = {}
    for where, row in tables.read(folder, "a line for each lesion: case,x,y,z,diameter; empty for a case without one"):
        lesions = told.setdefault(str(row.get("case")), [])
        texts = [(row.get(column) or "").strip() for column in _COLUMNS]
        if any(texts):
            lesions.append(_lesion(where, texts))
    cases = tables.chosen(folder, told, names)
    return cases, {case.name: tuple(told[case.name]) for case in cases}


def judge(lesions: Sequence[Lesion], centres: Float64, scores: Float64) -> Judged:
    """Which marks, ``centres`` (n, 3) LPS mm with ``scores`` (n,), hit a lesion: those within its radius.

    As LUNA16 counts (Setio 2017, doi:10.1016/j.media.2017.06.015): the best mark of a lesion is its hit, further ones
    within it count neither way.
    """
    hits: dict[int, float] = {}
    false: list[float] = []
    for index in np.argsort(-scores, kind="stable"):
        near = [
            (float(np.linalg.norm(centres[index] - lesion.centre)), number)
            for number, lesion in enumerate(lesions)
            if np.linalg.norm(centres[index] - lesion.centre) <= max(lesion.diameter_mm / 2, _LEAST_RADIUS_MM)
        ]
        if not near:
            false.append(float(scores[index]))
            continue
        free = [number for _, number in sorted(near) if number not in hits]
        if free:
            hits[free[0]] = float(scores[index])
    return Judged(len(lesions), tuple(hits.values()), tuple(false))


def curve(judged: Sequence[Judged]) -> tuple[Float64, Float64]:
    """False positives per case and sensitivity at falling scores, of all cases together; both rise from 0."""
    hits = np.sort(np.asarray([score for case in judged for score in case.hits]))[::-1]
    false = np.sort(np.asarray([score for case in judged for score in case.false]))[::-1]
    lesions = sum(case.lesions for case in judged)
    steps = np.unique(np.concatenate([hits, false]))[::-1]
    rates = np.searchsorted(-false, -steps, side="right") / len(judged)
    found = np.searchsorted(-hits, -steps, side="right") / max(1, lesions)
    return np.concatenate([[0.0], rates]), np.concatenate([[0.0], found])


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    """Sensitivity at each rate of false positives, with intervals over the cases.

    Returns:
        ``lesions``; ``sensitivity``, of all marks that count, and ``false_positives`` per case there; ``at``: rate as
        text → sensitivity; ``score``, the mean of these (the competition performance metric of LUNA16). None where
        there is no lesion.
    """
    every = _figures(judged)
    drawn = [_figures([judged[case] for case in cases]) for cases in resamples(len(judged))]
    spans = {name: interval(every[name], [draw[name] for draw in drawn], len(judged)) for name in every}
    return {
        "lesions": sum(case.lesions for case in judged),
        "sensitivity": spans["sensitivity"],
        "false_positives": spans["false_positives"],
        "at": {f"{rate:g}": spans[f"{rate:g}"] for rate in RATES},
        "score": spans["score"],
    }


def _figures(judged: Sequence[Judged]) -> Mapping[str, float | None]:
    rates, found = curve(judged)
    if not sum(case.lesions for case in judged):
        missing: dict[str, float | None] = dict.fromkeys(("sensitivity", "score", *(f"{rate:g}" for rate in RATES)))
        return missing | {"false_positives": float(rates[-1])}
    at = {f"{rate:g}": float(found[rates <= rate][-1]) for rate in RATES}
    score = float(np.mean(list(at.values())))
    return {"sensitivity": float(found[-1]), "false_positives": float(rates[-1]), "score": score, **at}


def _lesion(where: str, texts: Sequence[str]) -> Lesion:
    try:
        x, y, z, diameter = map(float, texts)
    except ValueError as error:
        raise InputError(
            f"{where}: x, y, z and diameter must be numbers, or all empty", reason="truth-labels"
        ) from error
    if not all(map(math.isfinite, (x, y, z, diameter))) or diameter <= 0:
        raise InputError(f"{where}: x, y, z and diameter must be numbers, or all empty", reason="truth-labels")
    return Lesion((x, y, z), diameter)
