"""Walk the elements of a data set from front to back.

What an image says as the last one of its series did need not be taken apart again: :class:`Run`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from dicom_node.archive.content import Content, Hash
from dicom_node.archive.dictionary import entry_of, name_of
from dicom_node.errors import HeaderError, NotDicomError

_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"

LONGEST_VALUE = 16384  # bytes; longer values are not attributes that anybody asks for
LONGEST_GROUPS = 64 << 20  # bytes of functional groups that are kept; a thousand frames have about one million
_DEEPEST_SEQUENCE = 100

LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))  # Float, Double Float, Pixel Data
_FUNCTIONAL_GROUPS = frozenset((0x52009229, 0x52009230))  # shared, per frame: where multi-frame images keep geometry
_TAKEN_APART = _PIXELS | _FUNCTIONAL_GROUPS
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_FORMATS = {
    order: tuple(struct.Struct(order + form) for form in ("HH", "HH2sH", "H", "L")) for order in ("<", ">")
}  # tag; tag, VR and length; length; long length


class Element(NamedTuple):
    """A top-level element with its value as stored."""

    tag: int  # group << 16 | element
    vr: str
    value: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Elements that follow each other in one image and are expected, byte by byte, in the next one."""

    encoded: bytes
    elements: Mapping[int, Element]  # those of them that are read at all


class Span(NamedTuple):
    """Where an element of a data set stands in its first piece."""

    tag: int
    start: int
    end: int


@lru_cache(256)
def _text_of_vr(code: bytes) -> str:
    return code.decode("ascii", errors="replace")


class _Kept:
    """Hands on what it takes in, and keeps the beginning."""

    def __init__(self, digest: Hash) -> None:
        self.value = bytearray()
        self._digest = digest

    def update(self, data: bytes, /) -> None:
        """Take in."""
        self._digest.update(data)
        if len(self.value) < LONGEST_GROUPS:
            self.value += data


class Walk:
    """One pass over a data set.

    ``image`` becomes the SHA-256 of what makes the image: the value of Pixel Data (of encapsulated ones the
    fragments without Basic Offset Table and item headers) and, in multi-frame images, the functional groups.
    """

    def __init__(self, content: Content, syntax: str, expected: Mapping[int, Run] | None = None) -> None:
        self.content = content
        self.expected = expected or {}
        self.runs: list[Run] = []
        self.strayed = False
        self.beginning = b""
        self.spans: list[Span] = []
        self._noting = expected is not None and not expected  # whether spans are wanted
        self.order = ">" if syntax == _EXPLICIT_BIG else "<"
        self.elements: dict[int, Element] = {}
        self.pixels = False
        self.image = hashlib.sha256()
        self.groups: dict[int, _Kept] = {}
        self.implicit = syntax == _IMPLICIT_LITTLE or self._looks_implicit(content)
        self._tag, self._start, self._short, self._long = _FORMATS[self.order]

    def run(self) -> None:
        """Walk to the end of the file."""
        if self.content.has(8):
            self.beginning = self.content.piece
        while self.content.has(8):
            self._take_short()
            if not self.content.has(8):
                break
            start = self.content.at
            tag, vr, length = self._header(self.implicit)
            self.content.element = tag
            if tag in _TAKEN_APART:
                self._noting = False
            if tag in _PIXELS:
                self._take_pixels(length)
            elif tag in _FUNCTIONAL_GROUPS:
                self.content.tee = self.groups[tag] = _Kept(self.image)
                self._pass(vr, length, self.implicit, 0)
                self.content.tee = None
            elif length == _UNDEFINED or length > LONGEST_VALUE:
                self._pass(vr, length, self.implicit, 0)
                self._note(tag, start)
            else:
                self.elements[tag] = Element(tag, vr, self.content.read(length))
                self._note(tag, start)
        self.content.drain()

    def _note(self, tag: int, start: int) -> None:
        """Note where an element stood, as long as nothing but the first piece has been read."""
        piece, end = self.content.piece, self.content.at
        self._noting = self._noting and piece is self.beginning and end < len(piece)
        if self._noting:
            self.spans.append(Span(tag, start, end))

    def _take_short(self) -> None:
        """Take elements as long as they lie whole in what has been read, as nearly all do: one by one is slow."""
        content, elements, expected = self.content, self.elements, self.expected
        piece, at = content.piece, content.at
        last = len(piece) - 12
        unpack, long = self._start.unpack_from, self._long.unpack_from
        noting = self._noting and piece is self.beginning
        while at <= last:
            group, number, code, length = unpack(piece, at)
            tag, start = group << 16 | number, at + 8
            if tag in expected:
                if piece.startswith(expected[tag].encoded, at):
                    at = self._take_run(expected[tag], at)
                    continue
                self.strayed = True
            if tag in _TAKEN_APART or group == 0xFFFE:
                break
            if self.implicit:
                (length,) = long(piece, at + 4)
                vr = entry_of(tag).vr
            else:
                if code in LONG_VRS:
                    (length,) = long(piece, start)
                    start += 4
                vr = _text_of_vr(code)
            if length > LONGEST_VALUE or start + length > len(piece):
                break
            if expected and tag in elements:
                self.strayed = True
            elements[tag] = Element(tag, vr, piece[start : start + length])
            if noting:
                self.spans.append(Span(tag, at, start + length))
            at = start + length
        content.at = at

    def _take_run(self, run: Run, at: int) -> int:
        self.elements |= run.elements
        self.runs.append(run)
        return at + len(run.encoded)

    @staticmethod
    def _looks_implicit(content: Content) -> bool:
        """Some senders write implicit VR under an explicit transfer syntax; the first element gives them away."""
        if not content.has(6):
            return False
        vr = content.piece[content.at + 4 : content.at + 6]
        return not (vr.isalpha() and vr.isupper())

    def _header(self, implicit: bool) -> tuple[int, str, int]:
        content = self.content
        group, number = self._tag.unpack(content.read(4))
        tag = group << 16 | number
        if group == 0xFFFE:
            return tag, "", self._long.unpack(content.read(4))[0]
        if implicit:
            return tag, entry_of(tag).vr, self._long.unpack(content.read(4))[0]
        vr = content.read(2)
        if vr in LONG_VRS:
            content.read(2)
            length = self._long.unpack(content.read(4))[0]
        else:
            length = self._short.unpack(content.read(2))[0]
        return tag, vr.decode("ascii", errors="replace"), length

    def _take_pixels(self, length: int) -> None:
        self.pixels = True
        if length != _UNDEFINED:
            self._take_image(length)
            return
        first = True
        # Writers that leave out the delimiter at the very end are tolerated: no pixel is missing.
        while self.content.has(8):
            tag, _, length = self._header(implicit=True)
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM or length == _UNDEFINED:
                raise NotDicomError(
                    f"{self.content.path}: the fragments of {name_of(self.content.element)} are damaged",
                    reason="damaged",
                    remedy="send the object again",
                )
            if first:
                self.content.skip(length)
            else:
                self._take_image(length)
            first = False

    def _take_image(self, length: int) -> None:
        if not self.content.hashing:
            self.content.skip(length)
            return
        for piece in self.content.pieces(length):
            self.image.update(piece)

    def _pass(self, vr: str, length: int, implicit: bool, depth: int) -> None:
        """Let one element pass whose header was read."""
        if length != _UNDEFINED:
            self.content.skip(length)
            return
        if depth > _DEEPEST_SEQUENCE:
            raise HeaderError(
                f"{self.content.path}: {name_of(self.content.element)} nests sequences deeper than {_DEEPEST_SEQUENCE}",
                reason="too-deep",
            )
        # PS3.5 6.2.2: a sequence whose VR a sender did not know is UN and holds implicit VR.
        inner = implicit or vr == "UN"
        if self._leap(inner):
            return
        while True:
            tag, _, length = self._header(implicit=True)
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise NotDicomError(
                    f"{self.content.path}: {name_of(self.content.element)} holds {name_of(tag)} where an item belongs",
                    reason="damaged",
                    remedy="send the object again",
                )
            if length == _UNDEFINED:
                self._pass_item(inner, depth)
            else:
                self.content.skip(length)

    def _leap(self, implicit: bool) -> bool:
        """Pass a sequence of undefined length at once, where it lies whole in what has been read and is in order.

        Else nothing is passed, and going step by step tells what is wrong, or reads on.
        """
        content = self.content
        piece, at, last = content.piece, content.at, len(content.piece) - 12
        unpack, long = self._start.unpack_from, self._long.unpack_from
        inside, in_item = [implicit], False  # of each sequence we are in: whether it holds implicit VR
        while at <= last:
            group, number, code, length = unpack(piece, at)
            if group == 0xFFFE:
                (length,) = long(piece, at + 4)
                at += 8
                if in_item and number == 0xE00D:
                    in_item = False
                elif not in_item and number == 0xE0DD:
                    inside.pop()
                    if not inside:
                        return self._leapt(at)
                    in_item = True  # the one that holds the sequence
                elif not in_item and number == 0xE000:
                    in_item = length == _UNDEFINED
                    at += 0 if in_item else length
                else:
                    return False
                continue
            if not in_item:
                return False
            at += 8
            if inside[-1]:
                (length,) = long(piece, at - 4)
                code = b""
            elif code in LONG_VRS:
                (length,) = long(piece, at)
                at += 4
            if length != _UNDEFINED:
                at += length
            elif len(inside) == _DEEPEST_SEQUENCE:
                return False
            else:
                inside.append(inside[-1] or code == b"UN")
                in_item = False
        return False

    def _leapt(self, at: int) -> bool:
        content = self.content
        if at > len(content.piece):
            return False
        if content.tee is not None:
            content.tee.update(content.piece[content.at : at])
        content.at = at
        return True

    def _pass_item(self, implicit: bool, depth: int) -> None:
        while True:
            tag, vr, length = self._header(implicit)
            if tag in (_ITEM_END, _SEQUENCE_END):
                return
            self._pass(vr, length, implicit, depth + 1)
