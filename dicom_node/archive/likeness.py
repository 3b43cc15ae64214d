"""The images of a series are alike, byte by byte: what the last ones said too is not taken apart again.

Most fit a :class:`~dicom_node.archive.mould.Mould`, and are compared as a whole. Of the others runs of elements are.
"""

from __future__ import annotations

import os
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.archive.header import header_of
from dicom_node.archive.mould import LONGEST_BEGINNING, Mould, cast
from dicom_node.archive.part10 import Part10, read_part10
from dicom_node.archive.receipt import association_in
from dicom_node.archive.walk import Run
from dicom_node.domain.study import Header

_SERIES_UID = 0x0020000E
_MOST_SERIES = 256  # remembered; each takes some KB
_MOST_MOULDS = 16  # of an association, which are tried for a file: one for each series


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
        self._moulds: dict[str, list[Mould]] = {}  # by association; in each that which fitted last is first
        self._room = 0  # bytes of a file that they need

    def header(self, path: str) -> Header:
        """As :func:`~dicom_node.archive.header.read_header` does without digests.

        Raises:
            NotDicomError, HeaderError, OSError: likewise.
        """
        found = self._from_mould(path) if self._moulds else None
        if found is not None:
            return found
        image = self.read(Path(path))
        header = header_of(image, Path(path))
        if image.spans:
            self._cast(path, image, header)
        return header

    def _from_mould(self, path: str) -> Header | None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            beginning = os.pread(descriptor, self._room, 0)
        finally:
            os.close(descriptor)
        moulds = self._moulds.get(association_in(beginning), [])
        for number, mould in enumerate(moulds):
            header = mould.read(beginning, size)
            if header is not None:
                if number:
                    moulds.insert(0, moulds.pop(number))
                return header
        return None

    def _cast(self, path: str, image: Part10, header: Header) -> None:
        """Have a mould of an image that was learnt from."""
        key = self._key(image)
        known = None if key is None else self._series.get(key)
        if known is None or not known.varying:
            return
        with open(path, "rb") as file:  # noqa: PTH123
            mould = cast(file.read(LONGEST_BEGINNING), image, header, known.varying)
        if mould is not None:
            others = [one for one in self._moulds.pop(header.association, []) if one.whose != mould.whose]
            self._moulds[header.association] = [mould, *others[: _MOST_MOULDS - 1]]
            if len(self._moulds) > _MOST_SERIES:
                self._moulds.pop(next(iter(self._moulds)))
            self._room = max(self._room, mould.room)

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
        key = self._key(image)
        if key is None:
            return
        known = self._series.pop(key) if key in self._series else _Series()
        self._series[key] = known
        known.learn(image)
        self._brought[self._association] = known
        if len(self._series) > _MOST_SERIES:
            self._series.pop(next(iter(self._series)))
        if len(self._brought) > _MOST_SERIES:
            self._brought.pop(next(iter(self._brought)))

    @staticmethod
    def _key(image: Part10) -> tuple[str, bytes] | None:
        uid = image.elements.get(_SERIES_UID)
        return None if uid is None else (image.transfer_syntax, uid.value)


def _nothing(meta: Mapping[int, bytes]) -> Mapping[int, Run]:
    return {}
