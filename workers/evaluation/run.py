"""The whole way of an evaluation: each case through the model's host, its scores, their summary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.output import ClassOutput
from dicom_node.errors import InputError
from workers.evaluation import cases, classes, classifiers, scores
from workers.inference.pool import HostPool


def evaluate(
    contract: ModelContract,
    folder: Path,
    *,
    part: str = "",
    device: str = "auto",
    told: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run a segmentation model or a classifier on every case of ``folder``, or of one ``part`` of its own split.

    ``cases`` tells how a folder of segmentations looks, ``classes`` that of a classifier. ``told`` is given a line for
    each case.

    Returns:
        ``model``, ``version``, ``sha256``, ``folder``, ``part``; of segmentations ``segments`` (name → score → mean,
        low, high, cases) and ``cases`` (``case``, ``seconds``, ``segments``: name → score → value); of classifiers
        ``classes`` (name or ``macro`` → score → mean, low, high, cases), ``calibration`` (None where classes do not
        exclude each other) and ``cases`` (``case``, ``seconds``, ``probabilities`` and ``truth`` by class).

    Raises:
        InputError: the model is neither, or takes several series, or a case cannot be used; names the file.
        ContractError, ModelError: as :meth:`HostPool.run`.
    """
    answers = [output for output in contract.outputs if isinstance(output, ClassOutput)]
    segments = contract.task == "segmentation"
    if len(contract.inputs) != 1 or not (segments or (contract.task == "classification" and len(answers) == 1)):
        raise InputError(
            f"{contract.name} is no segmentation of one series and no classifier with one output; only such models can "
            "be evaluated",
            reason="task",
        )
    names = cases.part_of_split(contract, part) if part else None
    with HostPool(device) as pool:
        found = (
            _of_segments(contract, folder, names, pool, told)
            if segments
            else _of_classes(contract, answers[0], folder, names, pool, told)
        )
    head = {"model": contract.name, "version": contract.version, "sha256": contract.digest}
    return {**head, "folder": str(folder), "part": part, **found}


def _of_segments(
    contract: ModelContract,
    folder: Path,
    names: tuple[str, ...] | None,
    pool: HostPool,
    told: Callable[[str], None],
) -> dict[str, Any]:
    chosen = cases.find(folder, names)
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(chosen, start=1):
        rows.append(_score(contract, case, pool))
        told(f"{number}/{len(chosen)}  {case.name}  {rows[-1]['seconds']:.1f} s")
    summaries = {
        segment.name: scores.summary([row["segments"][segment.name] for row in rows]) for segment in contract.segments
    }
    return {"segments": summaries, "cases": rows}


def _score(contract: ModelContract, case: cases.Case, pool: HostPool) -> dict[str, Any]:
    volume = cases.image_of(case, contract)
    truth = cases.truth_of(case, contract, volume.grid)
    output = pool.run(contract, {contract.inputs[0].name: volume})
    by_segment = {
        segment.name: scores.of_segment(
            output.label_map == segment.number, truth == segment.number, volume.grid.spacing
        )
        for segment in contract.segments
    }
    return {"case": case.name, "seconds": round(output.timings["total"], 2), "segments": by_segment}


def _of_classes(
    contract: ModelContract,
    output: ClassOutput,
    folder: Path,
    names: tuple[str, ...] | None,
    pool: HostPool,
    told: Callable[[str], None],
) -> dict[str, Any]:
    chosen, truth = classes.find(folder, output, names)
    known = [spec.name for spec in output.classes]
    if output.exclusive and not (truth.sum(axis=1) == 1).all():
        wrong = chosen[int((truth.sum(axis=1) != 1).argmax())].name
        raise InputError(f"{folder / classes.TRUTH}: {wrong} is not of one class", reason="truth-labels")
    rows: list[dict[str, Any]] = []
    for number, (case, holds) in enumerate(zip(chosen, truth, strict=True), start=1):
        ran = pool.run(contract, {contract.inputs[0].name: cases.image_of(case, contract)})
        given = dict(zip(known, (round(float(p), 6) for p in ran.arrays[output.name]), strict=True))
        seconds = round(ran.timings["total"], 2)
        told(f"{number}/{len(chosen)}  {case.name}  {seconds:.1f} s")
        of_case = dict(zip(known, holds.tolist(), strict=True))
        rows.append({"case": case.name, "seconds": seconds, "probabilities": given, "truth": of_case})
    probabilities = np.asarray([[row["probabilities"][name] for name in known] for row in rows])
    if output.exclusive:
        decided = np.eye(len(known), dtype=np.bool_)[probabilities.argmax(axis=1)]
    else:
        decided = probabilities >= np.asarray([spec.present_from for spec in output.classes])
    calibrated = classifiers.calibration(probabilities, truth, output.decided_from) if output.exclusive else None
    table = classifiers.of_classes(probabilities, decided, truth, known)
    return {"classes": table, "calibration": calibrated, "cases": rows}
