"""The images of a job in the order in which they lie in the patient, and what its Segmentation marks on each.

Only what is looked at is read: of a Segmentation the index of its frames once, then single frames.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from dicom_node.archive.database import Database
from dicom_node.archive.dicom_json import Model
from dicom_node.archive.frames import decoded_array, pixels_of
from dicom_node.archive.models import Models
from dicom_node.archive.schema import artifact, instance, job, result_set
from dicom_node.domain.parcel import Purpose

Mask = npt.NDArray[np.bool_]

_SHARED, _PER_FRAME = "52009229", "52009230"
_SEGMENT_IDENTIFICATION, _SEGMENT_NUMBER = "0062000A", "0062000B"
_DERIVATION, _SOURCE, _SOP_UID, _FRAME_NUMBER = "00089124", "00082112", "00081155", "00081160"
_MOST_KEPT = 16  # Segmentations whose index is remembered
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Slice:
    """One image, or one frame of a multi-frame image."""

    sop_uid: str
    path: str  # relative to the data directory
    frame: int  # from 1
    place: float  # mm along the normal of the slices


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Which frames of a Segmentation lie on which image."""

    path: str  # relative to the data directory
    rows: int
    columns: int
    kind: str  # BINARY, FRACTIONAL, LABELMAP
    maximum: int  # that a fraction of 1 is stored as
    frames: Mapping[tuple[str, int], tuple[tuple[int, int], ...]]  # SOP UID and frame -> segment (0: labels) and frame

    def segments_on(self, image: Slice) -> frozenset[int]:
        """Segments that have a frame on an image; of a label map only 0."""
        return frozenset(segment for segment, _ in self.frames.get((image.sop_uid, image.frame), ()))


def slices_of(database: Database, instance_ids: Sequence[int]) -> tuple[Slice, ...]:
    """The images of these rows by their place in the patient, feet or back or right first; else by their number."""
    found: list[tuple[Slice, int]] = []
    columns = (instance.c.sop_uid, instance.c.path, instance.c.plane, instance.c.frames, instance.c.instance_number)
    with database.read() as connection:
        for start in range(0, len(instance_ids), _BATCH):
            wanted = instance.c.id.in_(instance_ids[start : start + _BATCH])
            for row in connection.execute(select(*columns).where(wanted).order_by(instance.c.id)):
                found += [(each, row.instance_number or 0) for each in _slices(row)]
    placed = all(each.place == each.place for each, _ in found)  # nan: somewhere there is no place
    found.sort(key=lambda pair: (pair[0].place if placed else 0.0, pair[1], pair[0].frame))
    return tuple(each for each, _ in found)


def segmentation_path(database: Database, job_id: int) -> str | None:
    """The file of the Segmentation of a job's newest result set; None where it made none."""
    statement = (
        select(artifact.c.path)
        .join(result_set, result_set.c.id == artifact.c.result_set_id)
        .join(job, job.c.id == result_set.c.job_id)
        .where(job.c.id == job_id, artifact.c.kind == "seg", result_set.c.purpose == Purpose.RESULT)
        .order_by(result_set.c.id.desc(), artifact.c.id)
        .limit(1)
    )
    with database.read() as connection:
        path = connection.execute(statement).scalar()
    return None if path is None else str(path)


class Segmentations:
    """Reads Segmentations of one data directory. For any number of threads."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._kept: OrderedDict[str, Segmentation] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str) -> Segmentation:
        """The index of one.

        Raises:
            NotDicomError, HeaderError, OSError: its file cannot be read.
        """
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None:
                self._kept.move_to_end(path)
                return kept
        made = _indexed(path, self._models.model(path))
        with self._lock:
            self._kept[path] = made
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return made

    def masks(self, found: Segmentation, image: Slice) -> dict[int, Mask]:
        """Segment number -> its pixels (rows, columns) on an image.

        Raises:
            DicomNodeError, OSError: the frames cannot be read.
        """
        masks: dict[int, Mask] = {}
        file = self._models.store.absolute(found.path)
        for segment, number in found.frames.get((image.sop_uid, image.frame), ()):
            if found.kind == "BINARY":
                with pixels_of(file) as pixels:
                    bits = np.frombuffer(pixels.stored(number), np.uint8)
                values = np.unpackbits(bits, bitorder="little")[: found.rows * found.columns]
            else:
                values = decoded_array(file, number, raw=True).reshape(-1)
            values = values.reshape(found.rows, found.columns)
            if segment:
                masks[segment] = values > (0 if found.kind == "BINARY" else found.maximum // 2)
            else:
                masks |= {int(label): values == label for label in np.unique(values) if label}
        return masks


def _slices(row: Any) -> list[Slice]:
    stacks = (row.plane or {}).get("stacks", ())
    if len(stacks) != 1 or len(stacks[0]["positions"]) != max(row.frames, 1):
        return [Slice(row.sop_uid, row.path, number + 1, float("nan")) for number in range(max(row.frames, 1))]
    cosines = np.asarray(stacks[0]["orientation"], float)
    normal = np.cross(cosines[:3], cosines[3:])
    places = np.asarray(stacks[0]["positions"], float) @ normal
    return [Slice(row.sop_uid, row.path, number + 1, float(place)) for number, place in enumerate(places)]


def _indexed(path: str, model: Model) -> Segmentation:
    frames: dict[tuple[str, int], list[tuple[int, int]]] = {}
    shared = _first(model, _SHARED)
    kind = str(_value(model, "00620001") or "BINARY")
    kind = "LABELMAP" if _value(model, "00080016") == "1.2.840.10008.5.1.4.1.1.66.7" else kind
    for number, groups in enumerate(model.get(_PER_FRAME, {}).get("Value", ()), start=1):
        segment = _segment(groups) or _segment(shared)
        for source in _sources(groups):
            key = (str(_value(source, _SOP_UID)), int(_value(source, _FRAME_NUMBER) or 1))
            frames.setdefault(key, []).append((0 if kind == "LABELMAP" else segment, number))
    rows, columns = (int(_value(model, tag) or 0) for tag in ("00280010", "00280011"))
    maximum = int(_value(model, "0062000E") or 1)
    return Segmentation(path, rows, columns, kind, maximum, {key: tuple(each) for key, each in frames.items()})


def _segment(groups: Model) -> int:
    return int(_value(_first(groups, _SEGMENT_IDENTIFICATION), _SEGMENT_NUMBER) or 0)


def _sources(groups: Model) -> list[Model]:
    derivations = groups.get(_DERIVATION, {}).get("Value", ())
    return [source for each in derivations for source in each.get(_SOURCE, {}).get("Value", ())]


def _first(model: Model, tag: str) -> Model:
    items = model.get(tag, {}).get("Value") or [{}]
    return dict(items[0])


def _value(model: Model, tag: str) -> Any:
    values = model.get(tag, {}).get("Value") or [None]
    return values[0]
