"""Which images of the series are worth looking at: where each segment is largest, and where each detection lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Findings

MOST = 24  # images that are pointed at; more would be a series of its own


@dataclass(frozen=True, slots=True)
class KeyImage:
    """One image, or frame, with what is to be seen there."""

    slice: int  # index into the frames of the findings
    shows: tuple[str, ...]


def key_images(findings: Findings) -> tuple[KeyImage, ...]:
    """Detections first, the best of them first, then segments, the largest first; no image twice."""
    shows: dict[int, list[str]] = {}
    for found in findings.detections:
        centre = np.asarray(found.points, dtype=np.float64).mean(axis=0, keepdims=True)
        at = round(float(findings.grid.lps_to_index(centre)[0, 0]))
        shows.setdefault(min(max(at, 0), len(findings.frames) - 1), []).append(f"{found.tracking_id}: centre")
    for label, at, _ in sorted(_largest(findings), key=lambda each: -each[2]):
        shows.setdefault(at, []).append(f"{label}: largest area")
    if (told := findings.explanation) is not None:
        at = int(np.abs(told.values).reshape(len(told.values), -1).max(axis=1).argmax())
        shows.setdefault(at, []).append(f"{told.of}: {told.concept.meaning}, highest")
    if not shows and len(findings.frames) == 1 and findings.classes:
        shows[0] = [found.concept.meaning for found in findings.classes]
    return tuple(KeyImage(at, tuple(words)) for at, words in list(shows.items())[:MOST])


def areas(findings: Findings) -> dict[int, npt.NDArray[np.int64]]:
    """Voxels of each segment that has any, slice by slice."""
    counted = {}
    for layer, held in zip(findings.layers, findings.occupied, strict=True):
        for number in np.flatnonzero(held.any(axis=0)):
            if number:
                area = np.zeros(len(layer), np.int64)
                for at in np.flatnonzero(held[:, number]):
                    area[at] = np.count_nonzero(layer[at] == number)
                counted[int(number)] = area
    return counted


def _largest(findings: Findings) -> list[tuple[str, int, int]]:
    """Label, slice of the largest area, and voxels there, of each segment that has any."""
    counted = areas(findings)
    return [
        (segment.label, int(counted[segment.number].argmax()), int(counted[segment.number].max()))
        for segment in findings.segments
        if segment.number in counted
    ]
