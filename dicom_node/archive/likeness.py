"""The images of a series are alike, byte by byte: what the last ones said too is not taken apart again."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.archive.part10 import Part10, read_part10
from dicom_node.archive.walk import Run

_SERIES_UID = 0x0020000E
_MOST_SERIES = 256  # remembered; each takes some KB


@dataclass(slots=True)
class _Series:
    """What the images of one series have had in common so far."""

    encoded: dict[int, bytes] = field(default_factory=dict)  # of the last image that was learnt from
    varying: set[int] = field(default_factory=set)
    runs: dict[int, Run] = field(default_factory=dict)  # by the tag of their first element

    def learn(self, image: Part10) -> None:
        """Have one more image, that was read without expecting anything."""
        encoded = {span.tag: image.beginning[span.start : span.end] for span in image.spans}
        if len(encoded) < len(image.spans):  # an element stands there twice
            return
        if self.encoded:
            every = encoded.keys() | self.encoded.keys()
            self.varying |= {tag for tag in every if encoded.get(tag) != self.encoded.get(tag)}
            self.runs = self._runs(image)
        self.encoded = encoded

    def _runs(self, image: Part10) -> dict[int, Run]:
        """Constant elements that follow each other, with no room between them for one that comes and goes."""
        runs: list[list[int]] = []
        varying, last = sorted(self.varying), -1
        for span in image.spans:
            if span.tag in self.varying:
                last = -1
                continue
            if last < 0 or bisect(varying, span.tag) != bisect(varying, last):
                runs.append([])
            runs[-1].append(span.tag)
            last = span.tag
        place = {span.tag: span for span in image.spans}
        return {
            tags[0]: Run(
                image.beginning[place[tags[0]].start : place[tags[-1]].end],
                {tag: image.elements[tag] for tag in tags if tag in image.elements},
            )
            for tags in runs
        }


class Likeness:
    """Reads files that came one after the other. For one thread."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, bytes], _Series] = {}  # by transfer syntax and UID; that used last is last
        self._brought: dict[bytes, _Series] = {}  # by association: what it brought last
        self._association = b""

    def read(self, path: Path) -> Part10:
        """As :func:`~dicom_node.archive.part10.read_part10` does without digests.

        Raises:
            NotDicomError, HeaderError, OSError: likewise.
        """
        image = read_part10(path, digests=False, expected=self._expect)
        if image.strayed:
            image = read_part10(path, digests=False, expected=_nothing)
        if image.spans:
            self._learn(image)
        return image

    def _expect(self, meta: Mapping[int, bytes]) -> Mapping[int, Run]:
        # What the acceptor writes of an association stands before the time of the object.
        self._association = meta.get(0x0010, b"") + meta.get(0x0102, b"").partition(b'"received"')[0]
        known = self._brought.get(self._association)
        return known.runs if known else {}

    def _learn(self, image: Part10) -> None:
        uid = image.elements.get(_SERIES_UID)
        if uid is None:
            return
        key = image.transfer_syntax, uid.value
        known = self._series.pop(key) if key in self._series else _Series()
        self._series[key] = known
        known.learn(image)
        self._brought[self._association] = known
        if len(self._series) > _MOST_SERIES:
            self._series.pop(next(iter(self._series)))
        if len(self._brought) > _MOST_SERIES:
            self._brought.pop(next(iter(self._brought)))


def _nothing(meta: Mapping[int, bytes]) -> Mapping[int, Run]:
    return {}
