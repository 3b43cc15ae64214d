"""The catalogue of measurements: numbers over segments, each with its code, unit and source.

A contract names what it wants by ``kind`` and parameters:

    volume        ml
    mean_density  mean attenuation, HU
    laa           share of voxels below ``threshold`` HU, %
    percentile    attenuation below which ``percent`` of the voxels lie, HU
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.domain.contract import MeasurementSpec, ModelContract
from dicom_node.domain.finding import Code, Measurement, labels_by_slice
from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import ContractError, ModelOutputError

Values = npt.NDArray[Any]

MILLILITRE = Code("ml", "UCUM", "milliliter")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
PERCENT = Code("%", "UCUM", "percent")

VOLUME = Code("118565006", "SCT", "Volume")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
MEAN = Code("373098007", "SCT", "Mean")
# Percentiles that have a standard code (PS3.16 CID 7465); others get one of ours.
PERCENTILES: dict[float, Code] = {
    5: Code("371888009", "SCT", "5th Percentile Value of population"),
    10: Code("371890005", "SCT", "10th Percentile Value of population"),
    90: Code("371887004", "SCT", "90th Percentile Value of population"),
    95: Code("371889001", "SCT", "95th Percentile Value of population"),
}
PRIVATE_SCHEME = "99DCMNODE"


@dataclass(frozen=True, slots=True)
class Result:
    """A value with its meaning, before it is bound to segments."""

    concept: Code
    value: float
    unit: Code
    method: str
    derivation: Code | None = None


def volume(values: Values, voxel_mm3: float) -> Result:
    """Number of voxels times the volume of one."""
    return Result(VOLUME, values.size * voxel_mm3 / 1000, MILLILITRE, "Voxels of the segment times voxel volume")


def mean_density(values: Values, voxel_mm3: float) -> Result:
    """Mean attenuation."""
    mean = float(values.mean(dtype=np.float64))
    return Result(ATTENUATION, mean, HOUNSFIELD, "Mean over all voxels of the segment", MEAN)


def laa(values: Values, voxel_mm3: float, *, threshold: float = -950) -> Result:
    """Low attenuation area: share of voxels below the threshold (Gevenois 1995, doi:10.1164/ajrccm.152.2.7633722)."""
    concept = Code(f"LAA{-threshold:g}", PRIVATE_SCHEME, f"Low attenuation area below {threshold:g} HU")
    method = f"Share of the segment's voxels below {threshold:g} HU (Gevenois 1995, doi:10.1164/ajrccm.152.2.7633722)"
    return Result(concept, 100 * float(np.count_nonzero(values < threshold)) / values.size, PERCENT, method)


def percentile(values: Values, voxel_mm3: float, *, percent: float = 15) -> Result:
    """Percentile of the attenuation, interpolated linearly (Perc15: Parr 2006, doi:10.1136/thx.2005.054890)."""
    own = Code(f"PERC{percent:g}", PRIVATE_SCHEME, f"{percent:g}th percentile")
    method = (
        f"Attenuation below which {percent:g} % of the segment's voxels lie (Parr 2006, doi:10.1136/thx.2005.054890)"
    )
    value = float(np.percentile(values, percent))
    return Result(ATTENUATION, value, HOUNSFIELD, method, PERCENTILES.get(percent, own))


CATALOGUE: Mapping[str, Callable[..., Result]] = {
    "volume": volume,
    "mean_density": mean_density,
    "laa": laa,
    "percentile": percentile,
}
_PARAMETERS = {"volume": (), "mean_density": (), "laa": ("threshold",), "percentile": ("percent",)}


def check(contract: ModelContract) -> None:
    """Whether the catalogue has what the contract asks for.

    Raises:
        ContractError: an unknown kind or parameter, or a parameter out of range.
    """
    for index, wanted in enumerate(contract.measurements):
        key = f"measurements[{index + 1}]"
        if wanted.kind not in CATALOGUE:
            known = ", ".join(CATALOGUE)
            raise ContractError(f"there is no measurement {wanted.kind!r} (known: {known})", key=f"{key}.kind")
        allowed = _PARAMETERS[wanted.kind]
        for name, value in wanted.parameters:
            if name not in allowed:
                listed = ", ".join(allowed) or "none"
                raise ContractError(
                    f"{wanted.kind} has no parameter {name!r} (known: {listed})", key=f"{key}.parameters"
                )
            if not isinstance(value, int | float) or (name == "percent" and not 0 <= value <= 100):
                raise ContractError(f"{name} cannot be {value!r}", key=f"{key}.parameters")


def measure(
    contract: ModelContract, hu: Values, grid: VoxelGrid, layers: Sequence[npt.NDArray[np.uint8]]
) -> tuple[Measurement, ...]:
    """Take the contract's measurements.

    Args:
        contract: What is asked for.
        hu: Attenuation, axes (slice, row, column), the shape of ``grid``.
        grid: Where the voxels are.
        layers: Label maps of segment numbers, same axes and shape; 0 is background. A voxel that two segments of
            different layers share counts once where they are measured together.

    Over segments that are empty together only the volume is given, as 0: nothing else has a value there.

    Raises:
        ContractError: the catalogue does not have what is asked for.
        ModelOutputError: the shapes differ.
    """
    check(contract)
    if not contract.measurements:
        return ()
    for layer in layers:
        if not hu.shape == layer.shape == grid.shape:
            raise ModelOutputError(f"image {hu.shape}, label map {layer.shape} and grid {grid.shape} differ in shape")
    segmented = [_Layer(layer, hu) for layer in layers]
    results = []
    for wanted in contract.measurements:
        for names in wanted.of:
            segments = contract.segment_numbers(names)
            together = _together(segmented, segments, hu)
            if together.size or wanted.kind == "volume":
                results.append(_measured(wanted, segments, together, grid.voxel_volume))
    return tuple(results)


class _Layer:
    """One label map, with the voxels of its segments picked out once."""

    def __init__(self, label_map: npt.NDArray[np.uint8], hu: Values) -> None:
        self.label_map = label_map
        inside = label_map > 0
        self.numbers, self.values = label_map[inside], hu[inside]
        self.held = frozenset(np.flatnonzero(labels_by_slice(label_map)[:, 1:].any(axis=0)) + 1)


def _together(layers: Sequence[_Layer], segments: tuple[int, ...], hu: Values) -> Values:
    """Values of the voxels of those segments, each voxel once."""
    holding = [layer for layer in layers if layer.held.intersection(segments)]
    if not holding:
        return hu[:0].ravel()
    if len(holding) == 1:
        return np.asarray(holding[0].values[np.isin(holding[0].numbers, segments)])
    return np.asarray(hu[np.logical_or.reduce([np.isin(layer.label_map, segments) for layer in holding])])


def _measured(wanted: MeasurementSpec, segments: tuple[int, ...], values: Values, voxel_mm3: float) -> Measurement:
    result = CATALOGUE[wanted.kind](values, voxel_mm3, **dict(wanted.parameters))
    return Measurement(
        name=wanted.name,
        concept=result.concept,
        value=result.value,
        unit=result.unit,
        segments=segments,
        derivation=result.derivation,
        method=result.method,
    )
