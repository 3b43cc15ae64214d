"""Do intervals hold the truth as often as they say? And the calibration after which they do.

Split conformal prediction with normalised residuals (Lei 2018, doi:10.1080/01621459.2017.1307116): of n cases the
factor is the ceil((n + 1) coverage)-th smallest of |truth - value| / (spread + floor). On further cases like these the
interval value ± factor (spread + floor) then holds the truth with that probability at least. The floor, the median
spread, keeps an interval from vanishing where all samples happen to agree.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.output import CALIBRATION, Calibration
from dicom_node.errors import InputError
from workers.inference import uncertainty
from workers.inference.measurements import measure
from workers.inference.pool import ModelOutput
from workers.inference.volume import Volume

_Z = 1.959964  # of a normal distribution, for 95 %


def of_case(
    contract: ModelContract, output: ModelOutput, truth: npt.NDArray[np.uint8], volume: Volume
) -> dict[str, dict[str, Any]]:
    """Each measurement with an uncertainty against the same of the truth (slice, row, column) of segment numbers.

    Returns:
        Name and segments, as ``volume of anterior`` → ``measurement``, ``of``, ``value``, ``truth``, ``spread``,
        ``low``, ``high``, ``nominal`` (coverage it was calibrated for, or None).
    """
    wanted = {(m.name, m.segments): m.value for m in measure(contract, volume.array, volume.grid, [truth])}
    told = {}
    for found in uncertainty.measured(contract, output, volume.array, volume.grid):
        if found.uncertainty is None or (found.name, found.segments) not in wanted:
            continue
        of = uncertainty.names_of(contract, found)
        told[f"{found.name} of {' and '.join(of)}"] = {
            "measurement": found.name,
            "of": list(of),
            "value": found.value,
            "truth": wanted[(found.name, found.segments)],
            "spread": found.uncertainty.spread,
            "low": found.uncertainty.low,
            "high": found.uncertainty.high,
            "nominal": found.uncertainty.coverage,
        }
    return told


def summary(contract: ModelContract, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """How often the intervals held the truth.

    Returns:
        Name → ``held`` and ``cases`` (numbers), ``coverage`` with ``low`` and ``high`` (Wilson's interval, 95 %),
        ``nominal``, ``width`` (mean of half an interval, in the unit of the measurement).
    """
    told: dict[str, dict[str, Any]] = {}
    for name, cases in _by_measurement(rows).items():
        held = sum(case["low"] <= case["truth"] <= case["high"] for case in cases)
        low, high = wilson(held, len(cases))
        width = float(np.mean([(case["high"] - case["low"]) / 2 for case in cases]))
        told[name] = {
            "held": held,
            "cases": len(cases),
            "coverage": round(held / len(cases), 4),
            "low": low,
            "high": high,
            "nominal": cases[0]["nominal"],
            "width": round(width, 4),
        }
    return told


def calibrate(contract: ModelContract, rows: Sequence[Mapping[str, Any]], part: str) -> dict[str, dict[str, Any]]:
    """Calibrate every measurement by these cases, and write ``configs/calibration.json`` of the bundle.

    It becomes another model by that: its digest changes.

    Returns:
        Name → ``measurement``, ``of``, ``factor``, ``floor``, ``cases``.

    Raises:
        InputError: ``calibration``: nothing has an uncertainty, or the cases are too few for the coverage.
    """
    measured = _by_measurement(rows)
    if contract.uncertainty is None or not measured:
        raise InputError(
            f"{contract.name} tells no uncertainty of what it measures",
            reason="calibration",
            remedy="say under [uncertainty] of its model.toml where its spread comes from",
        )
    coverage = contract.uncertainty.coverage
    told = {name: _entry(fitted(cases, coverage)) for name, cases in measured.items()}
    weights = {weight.path: weight.sha256 for weight in contract.weights}
    content = {"coverage": coverage, "part": part, "weights": weights, "measurements": list(told.values())}
    file = contract.folder / CALIBRATION
    file.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    return told


def fitted(cases: Sequence[Mapping[str, Any]], coverage: float) -> Calibration:
    """The factor and floor that the cases of one measurement ask for.

    Raises:
        InputError: ``calibration``: fewer than coverage / (1 - coverage) cases say nothing of such intervals.
    """
    count = len(cases)
    rank = math.ceil(round((count + 1) * coverage, 9))
    if rank > count:
        raise InputError(
            f"{count} cases are too few to calibrate intervals of {coverage:.0%}",
            reason="calibration",
            remedy=f"give {math.ceil(round(coverage / (1 - coverage), 9))} or more, or a lower coverage in model.toml",
        )
    spreads = np.asarray([case["spread"] for case in cases])
    floor = float(np.median(spreads))
    errors = np.abs([case["truth"] - case["value"] for case in cases])
    scale = spreads + floor
    ratios = np.divide(errors, scale, out=np.where(errors > 0, np.inf, 0.0), where=scale > 0)
    factor = float(np.sort(ratios)[rank - 1])
    if not math.isfinite(factor):
        raise InputError(
            "samples that agree say nothing of errors as these", reason="calibration", remedy="choose another method"
        )
    first = cases[0]
    return Calibration(first["measurement"], tuple(first["of"]), round(factor, 4), round(floor, 6), count)


def wilson(held: int, count: int) -> tuple[float, float]:
    """Ends of Wilson's 95 % interval of a share."""
    share, square = held / count, _Z**2 / count
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)


def _by_measurement(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        for name, case in row.get("measurements", {}).items():
            found.setdefault(name, []).append(case)
    return found


def _entry(calibration: Calibration) -> dict[str, Any]:
    return {
        "measurement": calibration.measurement,
        "of": list(calibration.of),
        "factor": calibration.factor,
        "floor": calibration.floor,
        "cases": calibration.cases,
    }
