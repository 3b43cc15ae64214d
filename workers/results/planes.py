"""What the frames of a Segmentation are made of: a plane of one segment on one slice, made when it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Findings
from dicom_node.domain.output import Encoding as Encoding
from dicom_node.errors import ResultError

Bool = npt.NDArray[np.bool_]
Plane = npt.NDArray[Any]

MAXIMUM_FRACTIONAL_VALUE = 255


class Planes(Protocol):
    """The voxels that a Segmentation holds, by segment number (from 1) and slice (from 0)."""

    encoding: Encoding
    overlap: str  # Segments Overlap (0062,0013)

    @property
    def occupied(self) -> Bool:
        """Where there is a voxel: axes (segment, slice), row 0 for segment 1; one row for all in a label map."""

    def plane(self, number: int, index: int) -> Plane:
        """Axes (row, column); bool, or uint8 of a segmentation with eight bits a pixel."""


class Masks:
    """Voxels inside and outside of segments, from label maps whose segments do not overlap within one of them."""

    encoding = Encoding.BINARY

    def __init__(self, findings: Findings) -> None:
        self._layers = findings.layers
        held = [occupied.any(axis=0) for occupied in findings.occupied]
        self._layer_of = {int(number): at for at, any_ in enumerate(held) for number in np.flatnonzero(any_)}
        self._occupied: Bool = np.logical_or.reduce(findings.occupied)[:, 1 : len(findings.segments) + 1].T
        self.overlap = "YES" if overlap(findings) else "NO"

    @property
    def occupied(self) -> Bool:
        """As :class:`Planes` has it."""
        return self._occupied

    def plane(self, number: int, index: int) -> Plane:
        """The voxels of the segment on the slice."""
        return np.asarray(self._layers[self._layer_of.get(number, 0)][index] == number)


def overlap(findings: Findings) -> bool:
    """Whether a voxel lies in two segments; then they fit into no label map."""
    if len(findings.layers) == 1:
        return False
    held = np.stack([occupied[:, 1:].any(axis=1) for occupied in findings.occupied])  # axes (layer, slice)
    for index in np.flatnonzero(held.sum(axis=0) > 1):
        seen = np.zeros(findings.grid.shape[1:], dtype=np.bool_)
        for layer in np.flatnonzero(held[:, index]):
            inside = findings.layers[layer][index] != 0
            if (seen & inside).any():
                return True
            seen |= inside
    return False


class LabelMap:
    """One label map as it is, number by number; there must be no overlap."""

    encoding = Encoding.LABELMAP
    overlap = "NO"

    def __init__(self, findings: Findings) -> None:
        if overlap(findings):
            raise ResultError(
                "segments that overlap do not fit into a label map",
                reason="overlap",
                remedy="have them encoded as BINARY",
            )
        self._layers = findings.layers
        self._occupied: Bool = np.logical_or.reduce(findings.occupied)[:, 1:].any(axis=1)[None]

    @property
    def occupied(self) -> Bool:
        """As :class:`Planes` has it."""
        return self._occupied

    def plane(self, number: int, index: int) -> Plane:
        """Numbers of segments, uint8; 0 is background."""
        first, *others = (layer[index] for layer in self._layers)
        return np.asarray(np.maximum.reduce([first, *others]) if others else first)


class Fractions:
    """Probabilities of segments, as shares of ``MAXIMUM_FRACTIONAL_VALUE``."""

    encoding = Encoding.FRACTIONAL

    def __init__(self, probabilities: Sequence[npt.NDArray[np.floating[Any]]]) -> None:
        """``probabilities``: for each segment in order, axes (slice, row, column), 0 to 1."""
        self._probabilities = probabilities
        self.overlap = "NO" if len(probabilities) == 1 else "UNDEFINED"
        highest = np.array([[plane.max() for plane in channel] for channel in probabilities])
        lowest = min(float(channel.min()) for channel in probabilities)
        if not (lowest >= 0 and float(highest.max()) <= 1):  # NaN is neither
            raise ResultError(
                f"probabilities lie between 0 and 1, not {lowest} and {float(highest.max())}", reason="probabilities"
            )
        self._occupied: Bool = np.rint(highest * MAXIMUM_FRACTIONAL_VALUE) > 0

    @property
    def occupied(self) -> Bool:
        """As :class:`Planes` has it."""
        return self._occupied

    def plane(self, number: int, index: int) -> Plane:
        """Shares, uint8."""
        scaled = self._probabilities[number - 1][index] * float(MAXIMUM_FRACTIONAL_VALUE)
        return np.asarray(np.rint(scaled, out=scaled).astype(np.uint8))


def planes_of(findings: Findings, encoding: Encoding) -> Planes:
    """The segments of findings as that type of Segmentation holds them.

    Raises:
        ResultError: ``overlap``: they do not fit into a label map; ``probabilities``: a segment has none.
    """
    if encoding is Encoding.BINARY:
        return Masks(findings)
    if encoding is Encoding.LABELMAP:
        return LabelMap(findings)
    without = [segment.label for segment in findings.segments if segment.number not in findings.probabilities]
    if without:
        raise ResultError(
            f"there are no probabilities of {', '.join(without)}",
            reason="probabilities",
            remedy="set keep = true for its output in model.toml, or have it encoded as BINARY",
        )
    return Fractions([findings.probabilities[segment.number] for segment in findings.segments])
