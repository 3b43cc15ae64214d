"""A computed chest CT whose true lungs are known, voxel by voxel. Synthetic, and named so wherever it shows."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from dicom_node.demo import anatomy
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, uid_from_uuid

Acquisition = Literal["supine-head-first", "prone", "feet-first", "oblique"]

DEFAULT_SHAPE = (96, 288, 288)  # slices, rows, columns
DEFAULT_SPACING = (3.0, 1.25, 1.25)  # mm between slices, rows, columns
DEFAULT_THICKNESS = 1.0  # mm: thin sections at intervals, as emphysema protocols ask
EMPHYSEMA_THRESHOLD_HU = -950
# Two uniform integers: bounded, so that noise moves no voxel across -950 HU and truth stays exact.
NOISE_HALF_RANGE_HU = 15
# Sections thicker than this are averaged from several planes, which gives them partial volume.
PLANE_DISTANCE_MM = 1.5

_NAMESPACE = uuid.UUID("5b0e2b4e-53a5-5d0c-9d6c-1f1e7a1e5c11")
_POSITIONS: Mapping[Acquisition, str] = {
    "supine-head-first": "HFS",
    "prone": "HFP",
    "feet-first": "FFS",
    "oblique": "HFS",
}


@dataclass(frozen=True, slots=True)
class LungTruth:
    """What a perfect outline would measure."""

    volume_ml: float
    mean_density_hu: float
    laa_950_percent: float  # share of voxels below -950 HU
    perc15_hu: float


@dataclass(frozen=True, slots=True)
class PhantomTruth:
    """The truth per lung and for both together, counted over the voxels of the phantom."""

    right: LungTruth
    left: LungTruth
    both: LungTruth


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A computed CT. ``hu`` (int16) and ``lungs`` (uint8: 1 right, 2 left) have axes (slice, row, column)."""

    hu: npt.NDArray[np.int16]
    grid: VoxelGrid
    lungs: npt.NDArray[np.uint8]
    truth: PhantomTruth
    thickness: float  # mm of each section
    acquisition: Acquisition
    seed: int


def grid_of(
    acquisition: Acquisition,
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    spacing: tuple[float, float, float] = DEFAULT_SPACING,
) -> VoxelGrid:
    """The grid, centred on the chest, on which a patient lying so is acquired.

    ``shape`` is (slices, rows, columns), ``spacing`` in mm likewise. The patient is always the same; prone and
    feet-first turn the images by 180 degrees, oblique tilts them by 18 and 10 degrees.
    """
    along_row, along_column = {
        "supine-head-first": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        "prone": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
        "feet-first": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        "oblique": _tilted(18.0, 10.0),
    }[acquisition]
    row, column = np.asarray(along_row), np.asarray(along_column)
    matrix = np.eye(4)
    matrix[:3, 0] = np.cross(row, column) * spacing[0]
    matrix[:3, 1] = column * spacing[1]
    matrix[:3, 2] = row * spacing[2]
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return VoxelGrid.from_matrix(shape, matrix)


def compute(
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    spacing: tuple[float, float, float] = DEFAULT_SPACING,
    *,
    thickness: float | None = DEFAULT_THICKNESS,
    acquisition: Acquisition = "supine-head-first",
    seed: int = 1,
) -> Phantom:
    """Compute the phantom.

    Args:
        shape: Slices, rows, columns.
        spacing: Distance of slices, rows and columns in mm.
        thickness: Of a section in mm; None: that of the slice distance. Thick sections average what they cross.
        acquisition: How the patient lies and the images are turned.
        seed: Of the noise and, when written, of the UIDs.
    """
    grid = grid_of(acquisition, shape, spacing)
    section = spacing[0] if thickness is None else thickness
    hu = np.empty(shape, dtype=np.int16)
    lungs = np.empty(shape, dtype=np.uint8)
    random = np.random.default_rng(seed)
    for index in range(shape[0]):
        mean, lungs[index] = _section(grid, index, section, table_behind=acquisition != "prone")
        noise = random.integers(-NOISE_HALF_RANGE_HU, NOISE_HALF_RANGE_HU + 1, (2, *mean.shape), dtype=np.int8)
        hu[index] = np.clip(np.rint(mean) + noise.sum(axis=0, dtype=np.int16), -1024, 3071)
    sides = (anatomy.RIGHT,), (anatomy.LEFT,), (anatomy.RIGHT, anatomy.LEFT)
    truth = PhantomTruth(*(_truth(hu, lungs, numbers, grid) for numbers in sides))
    return Phantom(hu, grid, lungs, truth, section, acquisition, seed)


def write(phantom: Phantom, folder: Path, *, series_description: str = "SYNTHETIC chest CT phantom") -> list[Path]:
    """Write the phantom as one CT series, a Part 10 file per slice, into ``folder``; the paths in slice order.

    The UIDs follow from seed, acquisition and geometry: the same phantom has the same UIDs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    common = _common(phantom, series_description)
    paths = []
    for index in range(phantom.grid.shape[0]):
        image = _image(phantom, common, index)
        path = folder / f"{index + 1:04d}.dcm"
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _tilted(about_x: float, about_z: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    a, b = np.deg2rad(about_x), np.deg2rad(about_z)
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    turn = turn_z @ turn_x
    return turn[:, 0], turn[:, 1]


def _section(
    grid: VoxelGrid, index: int, thickness: float, *, table_behind: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Mean attenuation of a section and the lung that fills at least half of each of its voxels."""
    count = max(1, round(thickness / PLANE_DISTANCE_MM)) | 1
    step = grid.spacing[0]
    offsets = (np.arange(count) - count // 2) * (thickness / count) / step
    painted = [anatomy.paint(_plane(grid, index + float(offset)), table_behind=table_behind) for offset in offsets]
    if count == 1:
        return painted[0]
    mean = np.asarray(np.mean([hu for hu, _ in painted], axis=0, dtype=np.float32))
    lungs = np.zeros(mean.shape, dtype=np.uint8)
    for side in (anatomy.RIGHT, anatomy.LEFT):
        lungs[np.sum([labels == side for _, labels in painted], axis=0) * 2 > count] = side
    return mean, lungs


def _plane(grid: VoxelGrid, index: float) -> anatomy.Plane:
    matrix = grid.matrix().astype(np.float32)
    rows = np.arange(grid.shape[1], dtype=np.float32)[:, None]
    columns = np.arange(grid.shape[2], dtype=np.float32)[None, :]
    x, y, z = (m[0] * np.float32(index) + m[1] * rows + m[2] * columns + m[3] for m in matrix[:3])
    return anatomy.Plane(np.asarray(x), np.asarray(y), np.asarray(z))


def _truth(
    hu: npt.NDArray[np.int16], lungs: npt.NDArray[np.uint8], sides: tuple[int, ...], grid: VoxelGrid
) -> LungTruth:
    values = hu[np.isin(lungs, sides)]
    if not values.size:
        return LungTruth(0.0, float("nan"), float("nan"), float("nan"))
    return LungTruth(
        volume_ml=values.size * grid.voxel_volume / 1000,
        mean_density_hu=float(values.mean()),
        laa_950_percent=100 * float(np.mean(values < EMPHYSEMA_THRESHOLD_HU)),
        perc15_hu=float(np.percentile(values, 15)),
    )


def _uid(phantom: Phantom, what: str) -> str:
    name = f"{phantom.seed}|{phantom.acquisition}|{phantom.grid}|{phantom.thickness}|{what}"
    return uid_from_uuid(uuid.uuid5(_NAMESPACE, name))


def _common(phantom: Phantom, series_description: str) -> Dataset:
    """What every image of the series shares."""
    taken = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    plane = phantom.grid.plane(0)
    common = Dataset()
    common.SpecificCharacterSet = "ISO_IR 192"
    common.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    common.SOPClassUID = CTImageStorage
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(common, f"{kind}Date", taken.strftime("%Y%m%d"))
        setattr(common, f"{kind}Time", taken.strftime("%H%M%S"))
    common.AccessionNumber = "SYNTHETIC"
    common.Modality = "CT"
    common.Manufacturer = "dicom-node"
    common.ManufacturerModelName = "computed chest phantom"
    common.ReferringPhysicianName = ""
    common.StudyDescription = "SYNTHETIC CT CHEST"
    common.SeriesDescription = series_description
    common.DerivationDescription = "Computed from geometric shapes; not an image of a person"
    common.PatientName = "SYNTHETIC^PHANTOM"
    common.PatientID = "SYNTHETIC-PHANTOM"
    common.PatientBirthDate = ""
    common.PatientSex = "O"
    common.QualityControlSubject = "YES"
    common.BodyPartExamined = "CHEST"
    common.SliceThickness = f"{phantom.thickness:g}"
    common.KVP = "120"
    common.ConvolutionKernel = "B31f"
    common.PatientPosition = _POSITIONS[phantom.acquisition]
    common.StudyInstanceUID = _uid(phantom, "study")
    common.SeriesInstanceUID = _uid(phantom, "series")
    common.StudyID = "1"
    common.SeriesNumber = 1
    common.AcquisitionNumber = 1
    common.ImageOrientationPatient = [f"{cosine:.10g}" for cosine in plane.orientation]
    common.FrameOfReferenceUID = _uid(phantom, "frame of reference")
    common.PositionReferenceIndicator = ""
    common.SamplesPerPixel = 1
    common.PhotometricInterpretation = "MONOCHROME2"
    common.Rows, common.Columns = plane.rows, plane.columns
    common.PixelSpacing = [f"{distance:.10g}" for distance in plane.pixel_spacing]
    common.BitsAllocated, common.BitsStored, common.HighBit, common.PixelRepresentation = 16, 16, 15, 1
    common.WindowCenter, common.WindowWidth = "-600", "1500"
    common.RescaleIntercept, common.RescaleSlope, common.RescaleType = "0", "1", "HU"
    return common


def _image(phantom: Phantom, common: Dataset, index: int) -> Dataset:
    image = Dataset(common)
    image.SOPInstanceUID = UID(_uid(phantom, f"image {index}"))
    image.InstanceNumber = index + 1
    image.ImagePositionPatient = [f"{value:.6f}" for value in phantom.grid.plane(index).position]
    image.PixelData = phantom.hu[index].astype("<i2").tobytes()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    image.file_meta = meta
    return image
