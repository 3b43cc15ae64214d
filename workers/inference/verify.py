"""Trying a model before a patient's series does: load it, run it on a computed volume and on the same volume turned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicom_node.domain.contract import InputRole, ModelContract
from dicom_node.domain.feature import numbers, plausible
from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import DicomNodeError
from workers.inference import statements
from workers.inference.pool import HostPool, ModelOutput
from workers.inference.volume import Float32, Volume

Labels = npt.NDArray[np.uint8]

_SPACING_MM = (4.0, 3.0, 3.0)
_IN_PLANE = 112
_FEWEST_SLICES = 32
_SAME_SHARE = 0.99
_EXPLAINED = 32  # voxels
_DRAWS = 5  # networks of random weights that an explanation is compared with
_UNCHANGED, _SIMILAR = 0.9, 0.6  # rank correlations with theirs


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    DOUBTFUL = "doubtful"  # works, but a person should look
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried."""

    name: str
    outcome: Outcome
    detail: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether the model can be served."""
        return self.outcome is not Outcome.FAILED

    @property
    def what(self) -> str:
        """The check in one line."""
        doubt = "look at this: " if self.outcome is Outcome.DOUBTFUL else ""
        return f"{self.name}: {doubt}{self.detail}" + (f" ({self.remedy})" if self.remedy else "")


def verify(contract: ModelContract, *, device: str = "auto") -> Iterator[Check]:
    """Each check as it ends; the first that fails is the last."""
    with HostPool(device) as pool:
        try:
            yield from _checks(contract, pool)
        except DicomNodeError as error:
            yield Check(error.reason, Outcome.FAILED, str(error), error.remedy)


def _checks(contract: ModelContract, pool: HostPool) -> Iterator[Check]:
    licensed = (contract.folder / "LICENSE").is_file()
    yield Check(
        "licence",
        Outcome.PASSED if licensed else Outcome.DOUBTFUL,
        "LICENSE is there" if licensed else "the bundle has no LICENSE file",
        "" if licensed else "add the licence under which its maker gives it",
    )
    pool.warm(contract)
    yield Check("load", Outcome.PASSED, f"{len(contract.weights)} file(s) of weights, digests as in model.toml")
    volumes = computed_volumes(contract)
    if contract.explanation:  # which takes a run for every part of the volume
        volumes = {name: _middle(volume) for name, volume in volumes.items()}
    features = numbers(contract.features, {spec.name: plausible(spec) for spec in contract.features})
    straight = pool.run(contract, volumes, features=features)
    yield Check("device", Outcome.PASSED, ", ".join(f"{key} {value}" for key, value in straight.versions.items()))
    reference = volumes[contract.inputs[0].name]
    seconds, shape = straight.timings["total"], " x ".join(map(str, reference.grid.shape))
    yield Check("run", Outcome.PASSED, f"{seconds:.1f} s on a computed volume of {shape} voxels (no patient's)")
    yield from _found(contract, straight)
    if contract.explanation:
        yield _explained(contract, pool.run(contract, volumes, draws=_DRAWS))
    if straight.layers(contract):
        turned = pool.run(contract, {role: _turned(volume) for role, volume in volumes.items()}, features=features)
        yield _orientation(straight.layers(contract), turned.layers(contract))


def computed_volumes(contract: ModelContract) -> dict[str, Volume]:
    """A volume for each role of a model, of no patient."""
    return {role.name: _computed(role) for role in contract.inputs}


def _found(contract: ModelContract, output: ModelOutput) -> Iterator[Check]:
    layers = output.layers(contract)
    if layers:
        found = [s.name for s in contract.segments if any((layer == s.number).any() for layer in layers)]
        yield Check("labels", Outcome.PASSED, f"segments found in it: {', '.join(found) or 'none'}")
    for found_class in statements.classify(contract, output.arrays, {}):
        yield Check("class", Outcome.PASSED, f"{found_class.name}: {found_class.presence}. {found_class.reason}")
    for value in statements.values(contract, output.arrays):
        yield Check("value", Outcome.PASSED, f"{value.name}: {value.value:g} {value.unit.value}")


def _explained(contract: ModelContract, output: ModelOutput) -> Check:
    """Does the map tell of the weights? With random ones it must look otherwise (doi:10.48550/arXiv.1810.03292)."""
    wanted = contract.explanation
    name = wanted.output if wanted else ""
    found, drawn = output.arrays[f"{name}/explanation"], output.arrays[f"{name}/likeness"]
    alike = float(np.mean(drawn))
    if np.ptp(found) == 0:
        return Check(
            "explanation",
            Outcome.DOUBTFUL,
            "the map of the computed volume is the same everywhere, so nothing can be said of it",
            "try the model on a series that it is meant for",
        )
    told = f"rank correlation of {alike:.2f} with maps of {len(drawn)} networks of random weights"
    if alike >= _UNCHANGED:
        remedy = "choose another layer or method under [explanation] of model.toml, or leave it out"
        return Check("explanation", Outcome.FAILED, f"the map does not depend on the weights: {told}", remedy)
    if alike >= _SIMILAR:
        remedy = "such a map shows the image more than the model"
        return Check("explanation", Outcome.DOUBTFUL, f"the map changes little with the weights: {told}", remedy)
    return Check("explanation", Outcome.PASSED, f"the map depends on the weights: {told}")


def _orientation(straight: Sequence[Labels], turned: Sequence[Labels]) -> Check:
    pairs = zip(straight, turned, strict=True)
    same = float(np.mean([np.mean(one == other[::-1, ::-1, ::-1]) for one, other in pairs]))
    if same >= _SAME_SHARE:
        return Check("orientation", Outcome.PASSED, "the volume stored along opposite axes gives the same labels")
    return Check(
        "orientation",
        Outcome.DOUBTFUL,
        f"the same volume stored along opposite axes gives other labels in {1 - same:.1%} of the voxels",
        "add Orientationd (axcodes RAS) to the preprocessing and Invertd to the postprocessing, "
        "or restrict the role's series to the orientation the model was trained on",
    )


def _computed(role: InputRole) -> Volume:
    whole = synthetic(role)
    if role.dimensions == 3:
        return whole
    middle = whole.grid.shape[0] // 2
    matrix = whole.grid.matrix()
    matrix[:3, 3] += middle * matrix[:3, 0]
    grid = VoxelGrid.from_matrix((1, *whole.grid.shape[1:]), matrix)
    return Volume(whole.array[middle : middle + 1], grid, whole.frames[:1], whole.headers[:1], whole.unit)


def _middle(volume: Volume) -> Volume:
    """At most ``_EXPLAINED`` voxels along each axis, from the middle."""
    first = [max(0, (size - _EXPLAINED) // 2) for size in volume.grid.shape]
    kept = tuple(slice(at, at + _EXPLAINED) for at in first)
    array = np.ascontiguousarray(volume.array[kept])
    matrix = volume.grid.matrix()
    matrix[:3, 3] += matrix[:3, :3] @ np.asarray(first, dtype=np.float64)
    grid = VoxelGrid.from_matrix((array.shape[0], array.shape[1], array.shape[2]), matrix)
    return Volume(array, grid, volume.frames[kept[0]], volume.headers[kept[0]], volume.unit)


def synthetic(role: InputRole) -> Volume:
    """A computed trunk with two lungs and a spine, axial, 3 x 3 x 4 mm: HU for CT, arbitrary positive values else.

    Where the role takes smaller volumes only, it is as small as that.
    """
    modality, shape = role.modality, (max(_FEWEST_SLICES, role.minimum_slices), _IN_PLANE, _IN_PLANE)
    largest_mm = max(count * spacing for count, spacing in zip(shape, _SPACING_MM, strict=True))
    scale = min(1.0, (role.maximum_extent_mm or largest_mm) / largest_mm)
    matrix = np.zeros((4, 4))
    matrix[2, 0], matrix[1, 1], matrix[0, 2], matrix[3, 3] = *(scale * mm for mm in _SPACING_MM), 1.0
    matrix[:3, 3] = (-168.0 * scale, -168.0 * scale, -64.0 * scale)
    grid = VoxelGrid.from_matrix(shape, matrix)
    array = _trunk(shape)
    if modality != "CT":
        array = np.asarray((array + 1100) / 4, dtype=np.float32)
    header = Dataset()
    header.Modality, header.SeriesInstanceUID, header.FrameOfReferenceUID = modality, "2.25.1", "2.25.2"
    frames = tuple(f"2.25.3.{index + 1}" for index in range(shape[0]))
    return Volume(array, grid, frames, (header,) * shape[0], "HU" if modality == "CT" else "US")


def _trunk(shape: tuple[int, int, int]) -> Float32:
    slices, rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    array = np.full(shape, -1000.0, dtype=np.float32)
    array[np.broadcast_to((rows / 0.75) ** 2 + (columns / 0.95) ** 2 < 1, shape)] = 40.0
    for side in (-1, 1):
        lung = ((columns - side * 0.42) / 0.34) ** 2 + (rows / 0.55) ** 2 + (slices / 0.9) ** 2 < 1
        array[lung] = -850.0
    array[np.broadcast_to((rows - 0.55) ** 2 + columns**2 < 0.01, shape)] = 400.0
    array += np.random.default_rng(0).normal(0, 15, shape).astype(np.float32)
    return array


def _turned(volume: Volume) -> Volume:
    """The same patient, stored with all three axes reversed."""
    last = np.asarray(volume.grid.shape) - 1
    matrix = volume.grid.matrix()
    matrix[:3, 3] += matrix[:3, :3] @ last
    matrix[:3, :3] *= -1
    grid = VoxelGrid.from_matrix(volume.grid.shape, matrix)
    return Volume(
        np.ascontiguousarray(volume.array[::-1, ::-1, ::-1]),
        grid,
        volume.frames[::-1],
        volume.headers[::-1],
        volume.unit,
    )
