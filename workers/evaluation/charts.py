"""An evaluation as pictures: of segmentations overlap and volumes, of classifiers curves and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from workers.evaluation.classifiers import curve


def draw(evaluation: Mapping[str, Any], folder: Path) -> tuple[Path, ...]:
    """Write pictures (PNG) of what :func:`.run.evaluate` returned into ``folder``.

    ``dice.png`` and ``volumes.png`` of segmentations; ``roc.png`` and, where classes exclude each other,
    ``calibration.png`` of classifiers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{evaluation['model']} {evaluation['version']}, {len(evaluation['cases'])} cases"
    if "segments" in evaluation:
        return _overlap(evaluation, folder / "dice.png", title), _volumes(evaluation, folder / "volumes.png", title)
    drawn = [_curves(evaluation, folder / "roc.png", title)]
    if evaluation["calibration"]:
        drawn.append(_calibration(evaluation["calibration"], folder / "calibration.png", title))
    return tuple(drawn)


def _overlap(evaluation: Mapping[str, Any], file: Path, title: str) -> Path:
    names = list(evaluation["segments"])
    figure = Figure(figsize=(2 + 1.2 * len(names), 4), layout="constrained")
    axes = figure.subplots()
    columns = {name: [case["segments"][name]["dice"] for case in evaluation["cases"]] for name in names}
    axes.boxplot([[dice for dice in columns[name] if dice is not None] for name in names])
    axes.set_xticks(range(1, len(names) + 1), names)
    axes.set(ylabel="Dice", title=title)
    figure.savefig(file, dpi=150)
    return file


def _volumes(evaluation: Mapping[str, Any], file: Path, title: str) -> Path:
    figure, axes = _square()
    for name in evaluation["segments"]:
        of_cases = [case["segments"][name] for case in evaluation["cases"]]
        axes.scatter([s["truth_volume_ml"] for s in of_cases], [s["volume_ml"] for s in of_cases], label=name)
    axes.axline((0, 0), slope=1, color="grey", linewidth=1)
    axes.set(xlabel="volume of the truth, ml", ylabel="volume found, ml", title=title)
    axes.legend()
    figure.savefig(file, dpi=150)
    return file


def _curves(evaluation: Mapping[str, Any], file: Path, title: str) -> Path:
    figure, axes = _square()
    for name, told in evaluation["classes"].items():
        if name == "macro" or told["auc"]["mean"] is None:
            continue
        probability = np.asarray([case["probabilities"][name] for case in evaluation["cases"]])
        truth = np.asarray([case["truth"][name] for case in evaluation["cases"]], dtype=np.bool_)
        axes.plot(*curve(probability, truth), label=f"{name} ({told['auc']['mean']:.3f})")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=title)
    axes.legend(title="class (AUC)")
    figure.savefig(file, dpi=150)
    return file


def _calibration(calibration: Mapping[str, Any], file: Path, title: str) -> Path:
    figure, axes = _square()
    bins = calibration["bins"]
    axes.plot([each["confidence"] for each in bins], [each["accuracy"] for each in bins], marker="o")
    axes.axline((0, 0), slope=1, color="grey", linewidth=1)
    axes.set(xlabel="confidence", ylabel="accuracy", title=f"{title}; calibration error {calibration['ece']:.3f}")
    figure.savefig(file, dpi=150)
    return file


def _square() -> tuple[Figure, Any]:
    figure = Figure(figsize=(5, 5), layout="constrained")
    return figure, figure.subplots()
