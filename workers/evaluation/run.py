"""The whole way of an evaluation: each case through the model's host, its scores, their summary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicom_node.domain.contract import ModelContract
from dicom_node.errors import InputError
from workers.evaluation import cases, scores
from workers.inference.pool import HostPool


def evaluate(
    contract: ModelContract,
    folder: Path,
    *,
    part: str = "",
    device: str = "auto",
    told: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run a segmentation model on every case of ``folder`` (see ``cases``), or of one ``part`` of its own split.

    ``told`` is given a line for each case.

    Returns:
        ``model``, ``version``, ``sha256``, ``folder``, ``part``, ``segments`` (name → score → mean, low, high, cases)
        and ``cases`` (``case``, ``seconds``, ``segments``: name → score → value).

    Raises:
        InputError: the model is no segmentation of one series, or a case cannot be used; names the file.
        ContractError, ModelError: as :meth:`HostPool.run`.
    """
    if contract.task != "segmentation" or len(contract.inputs) != 1:
        raise InputError(
            f"{contract.name} is no segmentation of one series; only such models can be evaluated", reason="task"
        )
    chosen = cases.find(folder, cases.part_of_split(contract, part) if part else None)
    rows: list[dict[str, Any]] = []
    with HostPool(device) as pool:
        for number, case in enumerate(chosen, start=1):
            rows.append(_score(contract, case, pool))
            told(f"{number}/{len(chosen)}  {case.name}  {rows[-1]['seconds']:.1f} s")
    return {
        "model": contract.name,
        "version": contract.version,
        "sha256": contract.digest,
        "folder": str(folder),
        "part": part,
        "segments": {
            segment.name: scores.summary([row["segments"][segment.name] for row in rows])
            for segment in contract.segments
        },
        "cases": rows,
    }


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
