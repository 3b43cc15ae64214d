"""The whole way of an evaluation: each case through the model's host, its scores, their summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.output import ClassOutput, MaskOutput, RegionOutput, ValueOutput
from dicom_node.errors import InputError
from workers.evaluation import cases, classes, classifiers, detections, intervals, scores, tables, values
from workers.inference import statements
from workers.inference.pool import HostPool, ModelOutput
from workers.inference.volume import Volume


def evaluate(
    contract: ModelContract,
    folder: Path,
    *,
    part: str = "",
    device: str = "auto",
    calibrate: bool = False,
    told: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run a model on every case of ``folder``, or of one ``part`` of its own split.

    ``cases`` tells how a folder of segmentations looks, ``classes``, ``values`` and ``detections`` how those of
    classifiers, regressions and detectors do. ``told`` is given a line for each case.

    With ``calibrate`` the intervals of measurements are calibrated by these cases, and that is written into the bundle.

    Returns:
        ``model``, ``version``, ``sha256``, ``folder``, ``part``; of segmentations ``segments`` (name → score → mean,
        low, high, cases), ``cases`` (``case``, ``seconds``, ``segments``: name → score → value), and of those that tell
        how sure they are ``intervals`` (:mod:`workers.evaluation.intervals`), as they were; of classifiers
        ``classes`` (name or ``macro`` → score → mean, low, high, cases), ``calibration`` (None where classes do not
        exclude each other) and ``cases`` (``case``, ``seconds``, ``probabilities`` and ``truth`` by class); of
        regressions ``values`` (name → score → …) and ``cases`` (``values`` and ``truth`` by name); of detectors
        ``detections`` (as :func:`.detections.summary`), ``curve`` (``false_positives``, ``sensitivity``) and ``cases``
        (``lesions``, ``hits``, ``false_positives``).

    Raises:
        InputError: the model is none of these, or takes several series, or a case cannot be used; names the file.
        ContractError, ModelError: as :meth:`HostPool.run`.
    """
    contract = replace(contract, explanation=None)  # its map takes a run for every part of an image
    judge = _judge_of(contract)
    names = cases.part_of_split(contract, part) if part else None
    with HostPool(device) as pool:
        found = judge(folder, names, _Runner(contract, pool, told))
    if calibrate:
        found["calibrated"] = intervals.calibrate(contract, found["cases"], part)
    head = {"model": contract.name, "version": contract.version, "sha256": contract.digest}
    return {**head, "folder": str(folder), "part": part, **found}


class _Runner:
    """Runs a model case by case, and tells of each."""

    def __init__(self, contract: ModelContract, pool: HostPool, told: Callable[[str], None]) -> None:
        self.contract, self._pool, self._told = contract, pool, told

    def each(self, chosen: Sequence[cases.Case]) -> Iterator[tuple[cases.Case, Volume, ModelOutput, dict[str, Any]]]:
        """Case, its volume, what the model yields, and the head of its row: ``case`` and ``seconds``."""
        for number, case in enumerate(chosen, start=1):
            volume = cases.image_of(case, self.contract)
            output = self._pool.run(self.contract, {self.contract.inputs[0].name: volume})
            seconds = round(output.timings["total"], 2)
            self._told(f"{number}/{len(chosen)}  {case.name}  {seconds:.1f} s")
            yield case, volume, output, {"case": case.name, "seconds": seconds}


Names = tuple[str, ...] | None
_Judge = Callable[[Path, Names, _Runner], dict[str, Any]]


def _judge_of(contract: ModelContract) -> _Judge:
    if len(contract.inputs) == 1 and contract.task == "segmentation":
        return _of_segments
    answers = [output for output in contract.outputs if not isinstance(output, MaskOutput)]
    if len(contract.inputs) == len(answers) == 1:
        match contract.task, answers[0]:
            case "classification", ClassOutput() as classifier:
                return partial(_of_classes, classifier)
            case "regression", ValueOutput() as regression:
                return partial(_of_values, regression)
            case "detection", RegionOutput() as detector:
                return partial(_of_detections, detector)
    raise InputError(
        f"{contract.name} is no segmentation of one series, and no classifier, regression or detector with one output; "
        "only such models can be evaluated",
        reason="task",
    )


def _of_segments(folder: Path, names: Names, runner: _Runner) -> dict[str, Any]:
    contract = runner.contract
    rows: list[dict[str, Any]] = []
    for case, volume, output, row in runner.each(cases.find(folder, names)):
        truth = cases.truth_of(case, contract, volume.grid)
        by_segment = {
            segment.name: scores.of_segment(
                output.label_map == segment.number, truth == segment.number, volume.grid.spacing
            )
            for segment in contract.segments
        }
        measured = intervals.of_case(contract, output, truth, volume) if contract.uncertainty else {}
        rows.append({**row, "segments": by_segment} | ({"measurements": measured} if measured else {}))
    summaries = {
        segment.name: scores.summary([row["segments"][segment.name] for row in rows]) for segment in contract.segments
    }
    told_intervals = {"intervals": intervals.summary(contract, rows)} if contract.uncertainty else {}
    return {"segments": summaries, **told_intervals, "cases": rows}


def _of_values(output: ValueOutput, folder: Path, names: Names, runner: _Runner) -> dict[str, Any]:
    chosen, truth = values.find(folder, output, names)
    known = [spec.name for spec in output.values]
    rows: list[dict[str, Any]] = []
    for (_, _, ran, row), wanted in zip(runner.each(chosen), truth, strict=True):
        found = dict(zip(known, (float(value) for value in ran.arrays[output.name]), strict=True))
        rows.append({**row, "values": found, "truth": dict(zip(known, wanted.tolist(), strict=True))})
    found_all = np.asarray([[row["values"][name] for name in known] for row in rows])
    told = {
        spec.name: {**values.of_values(found_all[:, at], truth[:, at]), "unit": spec.unit.value}
        for at, spec in enumerate(output.values)
    }
    return {"values": told, "cases": rows}


def _of_detections(output: RegionOutput, folder: Path, names: Names, runner: _Runner) -> dict[str, Any]:
    chosen, lesions = detections.find(folder, names)
    rows, judged = [], []
    for case, _, ran, row in runner.each(chosen):
        found, _notes = statements.detections(runner.contract, ran.arrays, str)
        centres = np.asarray([np.mean(each.points, axis=0) for each in found]).reshape(-1, 3)
        marks = np.asarray([1.0 if each.score is None else each.score for each in found], dtype=np.float64)
        judged.append(detections.judge(lesions[case.name], centres, marks))
        told = {"hits": len(judged[-1].hits), "false_positives": len(judged[-1].false)}
        rows.append({**row, "lesions": judged[-1].lesions, **told})
    rates, sensitivity = detections.curve(judged)
    points = {"false_positives": rates.round(4).tolist(), "sensitivity": sensitivity.round(4).tolist()}
    return {"detections": detections.summary(judged), "curve": points, "cases": rows}


def _of_classes(output: ClassOutput, folder: Path, names: Names, runner: _Runner) -> dict[str, Any]:
    chosen, truth = classes.find(folder, output, names)
    known = [spec.name for spec in output.classes]
    if output.exclusive and not (truth.sum(axis=1) == 1).all():
        wrong = chosen[int((truth.sum(axis=1) != 1).argmax())].name
        raise InputError(f"{folder / tables.TRUTH}: {wrong} is not of one class", reason="truth-labels")
    rows: list[dict[str, Any]] = []
    for (_, _, ran, row), holds in zip(runner.each(chosen), truth, strict=True):
        given = dict(zip(known, (round(float(p), 6) for p in ran.arrays[output.name]), strict=True))
        rows.append({**row, "probabilities": given, "truth": dict(zip(known, holds.tolist(), strict=True))})
    probabilities = np.asarray([[row["probabilities"][name] for name in known] for row in rows])
    if output.exclusive:
        decided = np.eye(len(known), dtype=np.bool_)[probabilities.argmax(axis=1)]
    else:
        decided = probabilities >= np.asarray([spec.present_from for spec in output.classes])
    calibrated = classifiers.calibration(probabilities, truth, output.decided_from) if output.exclusive else None
    table = classifiers.of_classes(probabilities, decided, truth, known)
    return {"classes": table, "calibration": calibrated, "cases": rows}
