"""How far off a measurement may be: the spread of what was measured on samples, made into an interval.

Samples come from the model (:mod:`workers.inference.samples`), or are the segments at each threshold of their
probabilities. The latter are what the volume would be if all voxels were right or wrong together (comonotone), the
widest spread that the probabilities allow (Dhaene 2002, doi:10.1016/S0167-6687(02)00134-8).

Where the model was calibrated, the interval is value ± factor (spread + floor), by split conformal prediction with
normalised residuals (Lei 2018, doi:10.1080/01621459.2017.1307116); else it is two standard deviations to each side,
and said to be uncalibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Measurement, Uncertainty
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.output import Calibration, MaskForm, MaskOutput, SampleMethod, UncertaintySpec
from workers.inference import statements
from workers.inference.measurements import measure

if TYPE_CHECKING:
    from workers.inference.pool import ModelOutput

Float32 = npt.NDArray[np.float32]

_LEVELS = 40  # thresholds that a spread is taken over
_DEVIATIONS = 2.0  # to each side, where nothing was calibrated
_WORDS = {
    SampleMethod.MEMBERS: "members of the ensemble",
    SampleMethod.VIEWS: "mirror images",
    SampleMethod.CALL: "views and members of the model",
    SampleMethod.THRESHOLDS: "thresholds of probability",
}
_NOT_NEGATIVE = frozenset({"volume", "laa"})


def measured(
    contract: ModelContract, output: ModelOutput, values: npt.NDArray[Any], grid: VoxelGrid
) -> tuple[Measurement, ...]:
    """What the contract measures of a model's output, with its uncertainty.

    ``values`` are those of the image, axes (slice, row, column), on ``grid``.

    Raises:
        ContractError, ModelOutputError: as :func:`workers.inference.measurements.measure` and
            :func:`workers.inference.statements.values`.
    """
    found = (*measure(contract, values, grid, output.layers(contract)), *statements.values(contract, output.arrays))
    samples = [
        (*measure(contract, values, grid, layers), *statements.values(contract, sample, bounded=False))
        for layers, sample in zip(output.sampled_layers(contract), output.samples, strict=True)
    ]
    return judged(contract, found, samples, output.probabilities(contract), grid.voxel_volume)


def judged(
    contract: ModelContract,
    measurements: Sequence[Measurement],
    samples: Sequence[Sequence[Measurement]],
    probabilities: Mapping[int, Float32],
    voxel_mm3: float,
) -> tuple[Measurement, ...]:
    """The measurements, each with its uncertainty where the contract wants one and there are samples of it.

    Args:
        contract: With ``uncertainty``; without it the measurements are as they were.
        measurements: What was measured on the result.
        samples: What was measured on each sample; one may lack what could not be measured on it.
        probabilities: Of segments by number, for the method ``thresholds``.
        voxel_mm3: Volume of a voxel.
    """
    wanted = contract.uncertainty
    if wanted is None:
        return tuple(measurements)
    told = []
    for found in measurements:
        if wanted.method is SampleMethod.THRESHOLDS:
            values = _by_thresholds(contract, found, probabilities, voxel_mm3)
        else:
            same = (m for sample in samples for m in sample if (m.name, m.segments) == (found.name, found.segments))
            values = [m.value for m in same]
        told.append(_with(found, contract, wanted, values) if len(values) > 1 else found)
    return tuple(told)


def _with(found: Measurement, contract: ModelContract, wanted: UncertaintySpec, values: Sequence[float]) -> Measurement:
    spread = float(np.std(values, ddof=1))
    calibration = calibration_of(contract, found)
    half = _DEVIATIONS * spread
    how = "two standard deviations to each side, not calibrated"
    if calibration is not None:
        half = calibration.factor * (spread + calibration.floor)
        how = f"held {wanted.coverage:.0%} of the truths of {calibration.cases} cases it was calibrated on"
    low, high = found.value - half, found.value + half
    if _kind(contract, found) in _NOT_NEGATIVE:
        low = max(low, min(0.0, found.value))
    method = f"Standard deviation over {len(values)} {_WORDS[wanted.method]}; interval: {how}"
    coverage = wanted.coverage if calibration is not None else None
    return replace(found, uncertainty=Uncertainty(spread, low, high, coverage, method))


def calibration_of(contract: ModelContract, found: Measurement) -> Calibration | None:
    """What the interval of a measurement was calibrated by."""
    names = names_of(contract, found)
    calibrations = contract.uncertainty.calibrations if contract.uncertainty else ()
    return next((c for c in calibrations if (c.measurement, c.of) == (found.name, names)), None)


def names_of(contract: ModelContract, found: Measurement) -> tuple[str, ...]:
    """Short names of the segments that something was measured over."""
    names = {segment.number: segment.name for segment in contract.segments}
    return tuple(names[number] for number in found.segments)


def _kind(contract: ModelContract, found: Measurement) -> str:
    return next((spec.kind for spec in contract.measurements if spec.name == found.name), "")


def _by_thresholds(
    contract: ModelContract, found: Measurement, probabilities: Mapping[int, Float32], voxel_mm3: float
) -> list[float]:
    """Volumes, in ml, of what is inside at each threshold; nothing of another kind of measurement."""
    if _kind(contract, found) != "volume" or not set(found.segments) <= set(probabilities):
        return []
    together = _probability_of(contract, found.segments, probabilities)
    ordered = np.sort(together[together > 0], axis=None)
    thresholds = (np.arange(_LEVELS) + 0.5) / _LEVELS
    counts: npt.NDArray[Any] = ordered.size - np.searchsorted(ordered, thresholds, side="right")
    return [float(count) * voxel_mm3 / 1000 for count in counts]


def _probability_of(contract: ModelContract, numbers: Sequence[int], probabilities: Mapping[int, Float32]) -> Float32:
    """That a voxel lies in one of the segments: their sum where they exclude each other, else the highest."""
    if len(numbers) == 1:
        return probabilities[numbers[0]]
    exclusive = [
        set(contract.segment_numbers(output.segments))
        for output in contract.outputs
        if isinstance(output, MaskOutput) and output.form is MaskForm.PROBABILITIES
    ]
    fields = [probabilities[number] for number in numbers]
    if any(set(numbers) <= group for group in exclusive):
        return np.minimum(np.sum(fields, axis=0, dtype=np.float32), np.float32(1))
    return np.asarray(np.maximum.reduce(fields), dtype=np.float32)
