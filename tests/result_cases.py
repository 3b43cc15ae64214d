"""Small source series, contracts and findings for the tests of result objects; all computed, nobody's images."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from dicom_node.domain.contract import ModelContract, Resources, Status
from dicom_node.domain.finding import (
    Classification,
    Code,
    Detection,
    Evaluation,
    Findings,
    Measurement,
    Presence,
    Segment,
)
from dicom_node.domain.grid import ImagePlane, stack
from workers.results.records import ResultContext

# Image Orientation (Patient) of the ways a patient can lie, and of a plane that follows no axis.
ORIENTATIONS: dict[str, tuple[float, ...]] = {
    "supine-head-first": (1, 0, 0, 0, 1, 0),
    "prone-head-first": (-1, 0, 0, 0, -1, 0),
    "supine-feet-first": (-1, 0, 0, 0, 1, 0),
    "prone-feet-first": (1, 0, 0, 0, -1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": (
        *(0.8660254037844387, 0.5, 0.0),
        *(-0.4330127018922193, 0.75, 0.5),
    ),
}

LUNG = Code("39607008", "SCT", "Lung")
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")
VOLUME = Code("118565006", "SCT", "Volume")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
MEAN = Code("373098007", "SCT", "Mean")
EMPHYSEMA = Code("87433001", "SCT", "Pulmonary emphysema")
MILLILITRE = Code("ml", "UCUM", "ml")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")

MOTION = Code("C-MOTION", "99TEST", "Motion artefact")
ABNORMAL = Code("49755003", "SCT", "Morphologically Altered Structure")
NODULE = Code("27925004", "SCT", "Nodule")
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
MILLIMETRE = Code("mm", "UCUM", "mm")
LONG_AXIS = Measurement("long_axis", Code("103339001", "SCT", "Long axis"), 7.5, MILLIMETRE, ())
AGE = Measurement("age", Code("63900-5", "LN", "Current age or age at death"), 61.5, Code("a", "UCUM", "year"), ())

CLASSES = (
    Classification("motion", "quality", MOTION, Presence.PRESENT, 0.875, LUNG, "The most probable class", "A paper."),
    Classification("nodule", "nodules", NODULE, Presence.PRESENT, None, None, "2 found"),
)
DETECTIONS = (
    Detection(
        *(1, "nodules", NODULE, ABNORMAL, LUNG, ((-29.25, 22.5, -95.0),), 0.75, CERTAINTY),
        *((LONG_AXIS,), "nodule 1", "2.25.4721"),
    ),
    Detection(
        *(2, "nodules", NODULE, ABNORMAL, None),
        tuple((x, y, z) for z in (-99.0, -90.0) for y in (21.0, 23.5) for x in (-30.0, -28.0)),
        *(0.5, CERTAINTY, (), "nodule 2", "2.25.4722"),
    ),
)
# Findings of models that have no segments.
WITHOUT_SEGMENTS: dict[str, dict[str, Any]] = {
    "classes": {"classes": CLASSES[:1], "measurements": ()},
    "not evaluated": {
        "classes": (
            Classification("motion", "quality", MOTION, Presence.NOT_EVALUATED, None, None, "Slices too thick"),
        ),
        "measurements": (),
    },
    "values": {"measurements": (AGE,)},
    "detections": {"detections": DETECTIONS, "measurements": ()},
}

CONTEXT = ResultContext(
    installation=uuid.UUID("6f1a1f6e-0c55-4f6e-9f0c-2f7a3a4c5d6e"),
    job_key="0123456789abcdef" * 4,
    issue=0,
    profile="binary",
    content_time=datetime(2026, 3, 4, 22, 30, 15, 250000, tzinfo=UTC),
    time_zone=ZoneInfo("Europe/Berlin"),
    station="DICOMNODE",
    software_version="0.1.0",
)


def series(
    slices: int = 4,
    *,
    orientation: Sequence[float] = ORIENTATIONS["supine-head-first"],
    shape: tuple[int, int] = (10, 12),
    spacing: tuple[float, float] = (0.75, 0.5),
    step: float = 2.5,
    **attributes: Any,
) -> list[Dataset]:
    """Headers of a synthetic CT series in slice order; ``attributes`` are set in each of them."""
    normal = np.cross(orientation[:3], orientation[3:])
    images = []
    for index in range(slices):
        image = Dataset()
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.7.{index + 1}"
        image.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.8"
        image.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.9"
        image.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.10"
        image.Modality = "CT"
        image.PatientName = "Synthetic^Phantom"
        image.PatientID = "SYN-1"
        image.PatientBirthDate = "19500102"
        image.PatientSex = "O"
        image.StudyDate = "20260304"
        image.StudyTime = "223000"
        image.StudyID = "S1"
        image.AccessionNumber = "A-1"
        image.ReferringPhysicianName = "Refer^Ring"
        image.Manufacturer = "Phantoms"
        image.Rows, image.Columns = shape
        image.PixelSpacing = list(spacing)
        image.SliceThickness = step
        image.ImageOrientationPatient = list(orientation)
        image.ImagePositionPatient = [
            round(float(v), 6) for v in np.array([-30.5, 20.25, -100]) + index * step * normal
        ]
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
        images.append(image)
    return images


def received(image: Dataset, *elements: tuple[int, str, bytes]) -> Dataset:
    """The header as a file brings it, with further elements (tag, VR, bytes of the value) as they are."""
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, image, implicit_vr=False, little_endian=True)
    for tag, vr, value in elements:
        value += b" " * (len(value) % 2)
        buffer.write(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value)
    buffer.seek(0)
    return pydicom.dcmread(buffer, force=True)


def blobs(shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """A label map without symmetry: segments 1 and 2, on every slice but the first where there are several."""
    label_map = np.zeros(shape, np.uint8)
    first = 1 if shape[0] > 1 else 0
    label_map[first:, 1:5, 1:4] = 1
    label_map[first:, 2:9, 7:11] = 2
    label_map[-1, 0, 0] = 1
    label_map[-1, 9, 5:7] = 2
    return label_map


def findings_on(images: Sequence[Dataset], label_map: npt.NDArray[np.uint8] | None = None, **changes: Any) -> Findings:
    """Two lungs with measurements and an evaluation on a series that is in slice order."""
    planes = [
        ImagePlane(
            rows=int(image.Rows),
            columns=int(image.Columns),
            pixel_spacing=tuple(float(v) for v in image.PixelSpacing),  # type: ignore[arg-type]
            orientation=tuple(float(v) for v in image.ImageOrientationPatient),  # type: ignore[arg-type]
            position=tuple(float(v) for v in image.ImagePositionPatient),  # type: ignore[arg-type]
        )
        for image in images
    ]
    grid, order = stack(planes, thickness=float(images[0].SliceThickness))
    assert order == tuple(range(len(images)))
    parts: dict[str, Any] = {
        "grid": grid,
        "layers": (blobs(grid.shape) if label_map is None else label_map,),
        "frames": tuple(str(image.SOPInstanceUID) for image in images),
        "segments": (
            Segment(1, "Right lung", ANATOMY, LUNG, RIGHT, (224, 97, 76), "right_lung", "2.25.4711", "aerated"),
            Segment(2, "Left lung", ANATOMY, LUNG, LEFT, (202, 164, 140), "left_lung", "2.25.4712"),
        ),
        "measurements": tuple(
            measurement
            for index, numbers in enumerate(((1,), (2,), (1, 2)))
            for measurement in (
                Measurement("volume", VOLUME, 1234.56789012345678 + index, MILLILITRE, numbers, method="Voxel count."),
                Measurement("mean_density", ATTENUATION, -812.25 - index, HOUNSFIELD, numbers, derivation=MEAN),
            )
        ),
        "evaluations": (
            Evaluation("emphysema", EMPHYSEMA, Presence.NOT_EVALUATED, LUNG, (1, 2), "Slices too thick.", "A paper."),
        ),
        "notes": ("The phantom is computed.",),
    }
    return Findings(**{**parts, **changes})


def contract(**changes: Any) -> ModelContract:
    """The contract that yields such findings, as far as results need it."""
    parts: dict[str, Any] = {
        "name": "ct_lung_density",
        "version": "0.1.0",
        "title": "Lungs on CT",
        "manufacturer": "dicom-node project",
        "task": "segmentation",
        "status": Status.RESEARCH,
        "intended_use": "Research: outlines the lungs.",
        "limits": ("Not made for children.",),
        "folder": Path("models/ct_lung_density"),
        "configuration": "configs/inference.json",
        "digest": "ab" * 32,
        "inputs": (),
        "segments": (),
        "measurements": (),
        "evaluations": (),
        "resources": Resources(time_limit_s=60, memory_mb=2000),
    }
    return ModelContract(**{**parts, **changes})
