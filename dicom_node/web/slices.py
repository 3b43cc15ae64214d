"""Slices with the outlines of what a model found, as pictures that any browser shows."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, HTTPException, Response
from PIL import Image
from pydicom import dcmread

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.frames import decoded_array
from dicom_node.archive.models import Models
from dicom_node.archive.slices import Mask, Segmentation, Segmentations, Slice, segmentation_path, slices_of
from dicom_node.domain.job import Job
from dicom_node.errors import DicomNodeError
from dicom_node.web.dicomweb.picture import Window, in_units, window_of
from dicom_node.web.sources import Sources

GREYS = 200  # of the 256 colours of a picture; the others are for outlines
LEAST_SIDE = 480  # pixels; smaller images are enlarged, so that outlines are thin lines
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Preset:
    """A window that people call by its name."""

    name: str
    title: str
    window: Window | None  # None: that of the image


OWN = Preset("own", "As stored", None)
CT_PRESETS = (
    Preset("lung", "Lung", Window(-600, 1500)),
    Preset("soft", "Soft tissue", Window(40, 400)),
    Preset("bone", "Bone", Window(500, 2000)),
)
PRESETS: Mapping[str, Preset] = {each.name: each for each in (*CT_PRESETS, OWN)}


@dataclass(frozen=True, slots=True)
class Stack:
    """The images of one job, with what was found on them."""

    slices: tuple[Slice, ...]
    segmentation: Segmentation | None
    colours: Mapping[int, Colour]  # of each segment

    def first(self) -> int:
        """Where to begin: in the middle of the slices on which most was found; from 0."""
        if self.segmentation is None:
            return len(self.slices) // 2
        counts = [len(self.segmentation.segments_on(each)) for each in self.slices]
        most = [number for number, count in enumerate(counts) if count == max(counts, default=0)]
        return most[len(most) // 2] if most else 0

    def middle_of(self, segment: int) -> int | None:
        """The middle one of the slices on which a segment lies; None where that is not known before."""
        if self.segmentation is None:
            return None
        on = [number for number, each in enumerate(self.slices) if segment in self.segmentation.segments_on(each)]
        return on[len(on) // 2] if on else None


class Viewer:
    """Makes pictures of the images of jobs."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._store = ObjectStore(sources.settings.node.data_dir)
        self._segmentations = Segmentations(Models(self._store))

    def stack(self, job: Job, segments: Sequence[Mapping[str, Any]]) -> Stack:
        """The images of a job's first role. ``segments``: findings, with number and colour."""
        chosen = job.inputs[0].instances if job.inputs else ()
        path = segmentation_path(self._sources.database, job.id)
        found = None
        if path is not None:
            try:
                found = self._segmentations.get(path)
            except (DicomNodeError, OSError):
                found = None  # the images can be shown all the same; the page says that outlines are missing
        colours = {int(each["number"]): _colour(each["color"]) for each in segments}
        return Stack(slices_of(self._sources.database, chosen), found, colours)

    def picture(self, stack: Stack, number: int, preset: Preset, shown: frozenset[int] | None) -> bytes:
        """A slice as PNG. ``shown``: segments whose outlines are drawn; None: all.

        Raises:
            DicomNodeError, OSError: the image cannot be shown.
        """
        image = stack.slices[number]
        path = self._store.absolute(image.path)
        dataset = dcmread(path, stop_before_pixels=True)
        array = decoded_array(path, image.frame)
        grey = _grey(array, dataset, image.frame, preset.window)
        masks: dict[int, Mask] = {}
        if stack.segmentation is not None and shown != frozenset():
            masks = self._segmentations.masks(stack.segmentation, image)
        return outlined(
            grey, {each: mask for each, mask in masks.items() if shown is None or each in shown}, stack.colours
        )


def outlined(grey: npt.NDArray[np.uint8], masks: Mapping[int, Mask], colours: Mapping[int, Colour]) -> bytes:
    """A PNG of an image (rows, columns), 0 to 255, with the outlines of masks of the same shape.

    An outline lies on the pixels of its segment, one pixel wide at the size of the picture.
    """
    scale = max(1, math.ceil(LEAST_SIDE / max(grey.shape)))
    indices = np.rint(grey.astype(np.float32) * ((GREYS - 1) / 255)).astype(np.uint8)
    indices = indices.repeat(scale, axis=0).repeat(scale, axis=1)
    palette = [round(level * 255 / (GREYS - 1)) for level in range(GREYS) for _ in range(3)]
    for place, (segment, mask) in enumerate(sorted(masks.items())):
        if mask.shape != grey.shape:
            continue  # of another grid than the image
        entry = GREYS + place % (256 - GREYS)
        if place < 256 - GREYS:
            palette += colours.get(segment, (255, 255, 0))
        indices[_edge(mask.repeat(scale, axis=0).repeat(scale, axis=1))] = entry
    picture = Image.fromarray(indices, "L")
    picture.putpalette(palette + [0] * (768 - len(palette)))
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=2)
    return out.getvalue()


def router(sources: Sources, viewer: Viewer) -> APIRouter:
    """The routes."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/studies/{study_uid}/jobs/{job_id}/slices/{number}.png")
    def picture(study_uid: str, job_id: int, number: int, window: str = "own", segments: str = "all") -> Response:
        job = sources.ledger.job(job_id)
        if job is None or job.study_uid != study_uid:
            raise HTTPException(404, "There is no such job in this study.")
        if window not in PRESETS:
            raise HTTPException(400, f"window is one of {', '.join(PRESETS)}")
        found = [each for each in sources.ledger.findings(job_id) if each["kind"] == "segment"]
        stack = viewer.stack(job, found)
        if not 1 <= number <= len(stack.slices):
            raise HTTPException(404, f"There is no slice {number}: the job has {len(stack.slices)} images.")
        try:
            data = viewer.picture(stack, number - 1, PRESETS[window], _shown(segments))
        except OSError as error:
            raise HTTPException(410, "The file of this image is gone; dicom-node check --deep names it.") from error
        return Response(data, media_type="image/png")

    return routes


def presets_for(modality: str) -> tuple[Preset, ...]:
    """Windows that make sense for a modality, the first one first."""
    return (*CT_PRESETS, OWN) if modality == "CT" else (OWN,)


def _shown(text: str) -> frozenset[int] | None:
    if text == "all":
        return None
    parts = [part for part in text.split(",") if part]
    if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise HTTPException(400, "segments are numbers with commas between them, or all")
    return frozenset(map(int, parts))


def _grey(array: npt.NDArray[Any], dataset: Any, frame: int, window: Window | None) -> npt.NDArray[np.uint8]:
    if array.ndim == 3:  # colour: its brightness
        bright = np.rint(array[..., :3].astype(np.float32) @ np.array((0.299, 0.587, 0.114), np.float32))
        return np.asarray(np.clip(bright, 0, 255), np.uint8)
    values = in_units(array, dataset, frame)
    chosen = window or window_of(dataset, frame)
    if chosen is None:
        low, high = float(np.min(values)), float(np.max(values))
        chosen = Window((low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT")
    grey = chosen.grey(values)
    return np.subtract(255, grey) if str(dataset.get("PhotometricInterpretation")) == "MONOCHROME1" else grey


def _edge(mask: Mask) -> Mask:
    """Pixels of a mask that have a neighbour outside."""
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    edge: Mask = mask & ~inner
    return edge


def _colour(given: Sequence[int]) -> Colour:
    red, green, blue = (min(max(int(part), 0), 255) for part in given)
    return red, green, blue
