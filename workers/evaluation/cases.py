"""Cases with a known truth in a folder, and how their files are read.

images/NAME.nii.gz, or images/NAME/ with the DICOM files of one series
labels/NAME.nii.gz, or labels/NAME.dcm, a SEG          the label values, or codes, of model.toml
truth.csv                                              of classifiers: NAME and its class, or a 1 or 0 for each
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.grid import VoxelGrid
from dicom_node.errors import InputError
from workers.inference.volume import Volume, load_volume

Labels = npt.NDArray[np.uint8]
_SUFFIXES = (".nii.gz", ".nii", ".dcm")
_AFFINE_TOLERANCE_MM = 1e-2
_VOXEL_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Case:
    """One image with its truth."""

    name: str
    image: Path  # NIfTI file, or a folder of DICOM files
    truth: Path  # NIfTI file or SEG


def find(folder: Path, names: tuple[str, ...] | None = None) -> tuple[Case, ...]:
    """The cases in ``folder``, by name; of ``names`` only, where given.

    Raises:
        InputError: there are none, or one that is wanted has no image or no truth.
    """
    images, truths = entries(folder / "images"), entries(folder / "labels")
    wanted = names if names is not None else tuple(sorted(images))
    for what, there in (("image", images), ("truth", truths)):
        missing = [name for name in wanted if name not in there]
        if missing:
            raise InputError(
                f"{len(missing)} case(s) have no {what}: {', '.join(missing[:5])}",
                reason="no-truth" if what == "truth" else "no-image",
                remedy=f"put it into {folder / ('labels' if what == 'truth' else 'images')} under the case's name",
            )
    if not wanted:
        raise InputError(
            f"there are no cases in {folder}",
            reason="no-cases",
            remedy="it must hold images/ and labels/, with files or folders of the same names",
        )
    return tuple(Case(name, images[name], truths[name]) for name in wanted)


def part_of_split(contract: ModelContract, part: str) -> tuple[str, ...]:
    """Names of the cases in a part (test, validation, training) of the split that the model was trained by.

    Raises:
        InputError: the bundle says nothing of a split, or of that part.
    """
    file = contract.folder / "configs" / "split.json"
    try:
        parts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return tuple(map(str, parts[part]))
    except FileNotFoundError as error:
        raise InputError(f"{contract.name} has no configs/split.json", reason="no-split") from error
    except (KeyError, ValueError) as error:
        raise InputError(f"{file}: there is no part {part!r}", reason="no-split") from error


def image_of(case: Case, contract: ModelContract) -> Volume:
    """The image as the model gets it.

    Raises:
        InputError: it is no volume; as :func:`load_volume` for DICOM.
    """
    role = contract.inputs[0]
    if case.image.is_dir():
        files = [file for file in sorted(case.image.rglob("*")) if file.is_file()]
        return load_volume(files, minimum_slices=role.minimum_slices)
    array, grid = _nifti(case.image)
    header = Dataset()
    header.Modality, header.SeriesInstanceUID, header.FrameOfReferenceUID = role.modality, "2.25.1", "2.25.2"
    frames = tuple(f"2.25.3.{index + 1}" for index in range(grid.shape[0]))
    unit = "HU" if role.modality == "CT" else "US"
    return Volume(array.astype(np.float32), grid, frames, (header,) * grid.shape[0], unit)


def truth_of(case: Case, contract: ModelContract, grid: VoxelGrid) -> Labels:
    """The truth as labels of the contract (slice, row, column) on ``grid``.

    Raises:
        InputError: it lies on another grid, or names something that is no segment of the model.
    """
    if case.truth.suffix == ".dcm":
        return _seg(case, contract, grid)
    array, own = _nifti(case.truth)
    if own.shape != grid.shape or not np.allclose(own.matrix(), grid.matrix(), atol=_AFFINE_TOLERANCE_MM):
        array = _resorted(case, array, own, grid)
    known = {0, *(segment.number for segment in contract.segments)}
    unknown = sorted(set(np.unique(array).tolist()) - known)
    if unknown:
        raise InputError(
            f"{case.truth}: holds {unknown[:5]}, which are no labels of {contract.name}",
            reason="truth-labels",
            remedy="renumber the truth as labelID of model.toml says",
        )
    return array.astype(np.uint8)


def entries(folder: Path) -> dict[str, Path]:
    """Files and folders of cases by the name of the case."""
    found = {}
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        suffix = next((suffix for suffix in _SUFFIXES if entry.name.endswith(suffix)), None)
        if entry.is_dir() or suffix:
            found[entry.name.removesuffix(suffix or "")] = entry
    return found


def _nifti(file: Path) -> tuple[npt.NDArray[Any], VoxelGrid]:
    """Array (slice, row, column) and its grid, of a file whose axes are (column, row, slice)."""
    try:
        image = nibabel.load(file)
        array = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, ImageFileError) as error:
        raise InputError(f"{file}: cannot be read: {error}", reason="not-nifti") from error
    if array.ndim != 3:
        raise InputError(f"{file}: has {array.ndim} dimensions, not 3", reason="not-a-volume")
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    array = array.transpose(2, 1, 0)
    return array, VoxelGrid.from_matrix(array.shape, matrix[:, [2, 1, 0, 3]])


def _resorted(case: Case, array: npt.NDArray[Any], own: VoxelGrid, grid: VoxelGrid) -> npt.NDArray[Any]:
    """Labels of a grid with the same voxels in another order, as NIfTI beside DICOM often is."""
    indices = np.indices(grid.shape).reshape(3, -1).T
    return array[_placed(case, own.shape, own.lps_to_index(grid.index_to_lps(indices)))].reshape(grid.shape)


def _placed(case: Case, shape: tuple[int, ...], indices: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], ...]:
    """Whole indices that are all voxels of ``shape``."""
    whole = np.round(indices)
    outside = ((whole < 0) | (whole >= shape)).any()
    if outside or (len(whole) and float(np.abs(indices - whole).max()) > _VOXEL_TOLERANCE):
        raise InputError(
            f"{case.truth}: lies on another grid than the image",
            reason="truth-grid",
            remedy="resample the truth to the image (nearest neighbour), or take the one that was drawn on it",
        )
    return tuple(whole.astype(np.intp).T)


def _seg(case: Case, contract: ModelContract, grid: VoxelGrid) -> Labels:
    try:
        seg = dcmread(case.truth)
        numbers = {int(entry.SegmentNumber): _label_of(entry, contract) for entry in seg.SegmentSequence}
        labels = np.zeros(grid.shape, dtype=np.uint8)
        for number, points in _frames(seg):
            if numbers[number]:
                labels[_placed(case, grid.shape, grid.lps_to_index(points))] = numbers[number]
    except (AttributeError, InvalidDicomError, KeyError, ValueError) as error:
        raise InputError(f"{case.truth}: is no segmentation that can be read: {error}", reason="not-seg") from error
    if not any(numbers.values()):
        raise InputError(
            f"{case.truth}: none of its segments has the codes of a segment of {contract.name}", reason="truth-labels"
        )
    return labels


def _label_of(entry: Dataset, contract: ModelContract) -> int:
    """Number of the contract's segment with the same type and modifier; 0: none has."""
    kind = entry.SegmentedPropertyTypeCodeSequence[0]
    modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence") or [None]
    found = (str(kind.CodeValue), str(modifiers[0].CodeValue) if modifiers[0] is not None else None)
    for segment in contract.segments:
        if found == (segment.type.value, segment.type_modifier.value if segment.type_modifier else None):
            return segment.number
    return 0


def _frames(seg: Dataset) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Segment number, and LPS mm of the voxels that are set, for each frame of a binary segmentation."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for frame, groups in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        told = {
            keyword: (groups if keyword in groups else shared)[keyword].value[0]
            for keyword in (
                "PlaneOrientationSequence",
                "PlanePositionSequence",
                "PixelMeasuresSequence",
                "SegmentIdentificationSequence",
            )
        }
        cosines = np.array(told["PlaneOrientationSequence"].ImageOrientationPatient, dtype=float)
        position = np.array(told["PlanePositionSequence"].ImagePositionPatient, dtype=float)
        between_rows, between_columns = map(float, told["PixelMeasuresSequence"].PixelSpacing)
        rows, columns = np.nonzero(frame)
        down, along = cosines[3:] * between_rows, cosines[:3] * between_columns
        points = position + rows[:, None] * down + columns[:, None] * along
        yield int(told["SegmentIdentificationSequence"].ReferencedSegmentNumber), points
