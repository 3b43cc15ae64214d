"""An evaluation as pictures: overlap and volumes, curves and calibration, agreement of values, free-response curves."""

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
    ``calibration.png`` of classifiers; ``agreement.png`` (Bland and Altman) of regressions; ``froc.png`` of detectors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{evaluation['model']} {evaluation['version']}, {len(evaluation['cases'])} cases"
    if "segments" in evaluation:
        return _overlap(evaluation, folder / "dice.png", title), _volumes(evaluation, folder / "volumes.png", title)
    if "values" in evaluation:
        return (_agreement(evaluation, folder / "agreement.png", title),)
    if "detections" in evaluation:
        return (_free_response(evaluation, folder / "froc.png", title),)
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


def _agreement(evaluation: Mapping[str, Any], file: Path, title: str) -> Path:
    names = list(evaluation["values"])
    figure = Figure(figsize=(5 * len(names), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        found, truth = (np.asarray([case[key][name] for case in evaluation["cases"]]) for key in ("values", "truth"))
        axes.scatter((found + truth) / 2, found - truth)
        for score, style in (("bias", "-"), ("lower_limit", "--"), ("upper_limit", "--")):
            if evaluation["values"][name][score]["mean"] is not None:
                axes.axhline(evaluation["values"][name][score]["mean"], color="grey", linestyle=style, linewidth=1)
        unit = evaluation["values"][name]["unit"]
        axes.set(xlabel=f"{name}: mean of found and truth, {unit}", ylabel=f"found - truth, {unit}", title=title)
    figure.savefig(file, dpi=150)
    return file


def _free_response(evaluation: Mapping[str, Any], file: Path, title: str) -> Path:
    figure, axes = _square()
    axes.step(evaluation["curve"]["false_positives"], evaluation["curve"]["sensitivity"], where="post")
    known = {float(rate): told for rate, told in evaluation["detections"]["at"].items() if told["low"] is not None}
    axes.vlines(list(known), [t["low"] for t in known.values()], [t["high"] for t in known.values()], color="grey")
    axes.set_xscale("log", base=2)
    axes.set(xlabel="false positives per case", ylabel="sensitivity", ylim=(0, 1.02), title=title)
    figure.savefig(file, dpi=150)
    return file


def _square() -> tuple[Figure, Any]:
    figure = Figure(figsize=(5, 5), layout="constrained")
    return figure, figure.subplots()
