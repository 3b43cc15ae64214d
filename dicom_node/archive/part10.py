"""Walk a DICOM Part 10 file from front to back once: its elements, its digests, whether it is whole.

Nothing is decoded and nothing large is held: pixel data, sequences and long values flow past in pieces, so an
element that claims 3 GB costs no memory. PS3.10 7.1 (file meta information), PS3.5 7 (data elements) and A.5
(deflated). Reading is tolerant of what does not hinder use: wrong group lengths, unknown VRs, padding at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dicom_node.archive.content import Content, Hash
from dicom_node.archive.dictionary import entry_of, name_of
from dicom_node.errors import HeaderError, NotDicomError

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"

LONGEST_VALUE = 16384  # bytes; longer values are not attributes that anybody asks for
LONGEST_GROUPS = 64 << 20  # bytes of functional groups that are kept; a thousand frames have about one million
_DEEPEST_SEQUENCE = 100

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))  # Float, Double Float, Pixel Data
_FUNCTIONAL_GROUPS = frozenset((0x52009229, 0x52009230))  # shared, per frame: where multi-frame images keep geometry
_TAKEN_APART = _PIXELS | _FUNCTIONAL_GROUPS
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF


class Element(NamedTuple):
    """A top-level element with its value as stored."""

    tag: int  # group << 16 | element
    vr: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Part10:
    """What a file holds, apart from pixels, sequences and long values."""

    meta: dict[int, bytes]  # file meta information by element number, values as stored
    transfer_syntax: str
    little_endian: bool
    elements: dict[int, Element]  # of the data set, by tag
    pixels: bool  # whether it has Pixel Data
    digest: str  # SHA-256 of the data set as stored
    image_digest: str  # see :class:`_Walk`; empty when there is no Pixel Data
    size: int  # bytes of the file
    groups: dict[int, bytes]  # functional groups of a multi-frame image, by tag: values as stored, longer ones cut off
    implicit: bool  # implicit VR, also of the functional groups


def read_part10(path: Path) -> Part10:
    """Walk the whole file.

    Raises:
        NotDicomError: no Part 10 file, or one that ends inside an element.
        HeaderError: no transfer syntax, or sequences nested beyond reason.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        meta = read_meta(file, path)
        syntax = text_of(meta.get(0x0010, b""))
        if not syntax:
            raise HeaderError(
                f"{path}: (0002,0010) Transfer Syntax UID is absent",
                reason="no-transfer-syntax",
                remedy="write the file anew with its transfer syntax, or send it over the network",
            )
        walk = _Walk(Content(file, size - file.tell(), syntax == _DEFLATED, path), syntax)
        walk.run()
    return Part10(
        meta=meta,
        transfer_syntax=syntax,
        little_endian=walk.order == "<",
        elements=walk.elements,
        pixels=walk.pixels,
        digest=walk.content.digest.hexdigest(),
        image_digest=walk.image.hexdigest() if walk.pixels else "",
        size=size,
        groups={tag: bytes(kept.value) for tag, kept in walk.groups.items()},
        implicit=walk.implicit,
    )


def begin_part10(path: Path) -> dict[int, Element]:
    """The elements of a file up to where it breaks off.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file, contextlib.suppress(NotDicomError):
        syntax = text_of(read_meta(file, path).get(0x0010, b""))
        return begin_data_set(file, path.stat().st_size - file.tell(), syntax, path)
    return {}


def begin_data_set(file: BinaryIO, size: int, syntax: str, path: Path) -> dict[int, Element]:
    """The elements of a data set of ``size`` bytes at the position of ``file``, up to where it breaks off."""
    with contextlib.suppress(NotDicomError, HeaderError):
        walk = _Walk(Content(file, size, syntax == _DEFLATED, path), syntax)
        with contextlib.suppress(NotDicomError, HeaderError):
            walk.run()
        return walk.elements
    return {}


def text_of(value: bytes) -> str:
    """An ASCII value without its padding."""
    return value.decode("ascii", errors="replace").strip(" \0")


@lru_cache(256)
def _text_of_vr(code: bytes) -> str:
    return code.decode("ascii", errors="replace")


def read_meta(file: BinaryIO, path: Path) -> dict[int, bytes]:
    """The file meta information by element number; afterwards ``file`` stands at the data set's first byte.

    Raises:
        NotDicomError: no Part 10 file, or one that ends inside its meta information.
    """
    head = file.read(132)
    if head[128:] != b"DICM":
        raise NotDicomError(
            f"{path}: no DICOM file: 'DICM' does not stand at byte 128",
            remedy="send the object over the network, or convert it to a DICOM Part 10 file",
        )
    meta: dict[int, bytes] = {}
    while True:
        start = file.tell()
        header = file.read(8)
        # The group length is often wrong; the first tag of another group ends the meta information for certain.
        if len(header) < 8 or header[:2] != b"\x02\x00":
            file.seek(start)
            return meta
        number, vr, length = struct.unpack("<xxH2sH", header)
        if vr in _LONG_VRS:
            (length,) = struct.unpack("<L", file.read(4).ljust(4, b"\0"))
        value = file.read(length) if length <= LONGEST_VALUE else b""
        if len(value) < length:
            raise NotDicomError(
                f"{path}: the file meta information ends inside (0002,{number:04X})",
                reason="truncated",
                remedy="send the object again",
            )
        meta[number] = value


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


class _Walk:
    """One pass over a data set.

    ``image`` becomes the SHA-256 of what makes the image: the value of Pixel Data (of encapsulated ones the
    fragments without Basic Offset Table and item headers) and, in multi-frame images, the functional groups.
    """

    def __init__(self, content: Content, syntax: str) -> None:
        self.content = content
        self.order = ">" if syntax == _EXPLICIT_BIG else "<"
        self.elements: dict[int, Element] = {}
        self.pixels = False
        self.image = hashlib.sha256()
        self.groups: dict[int, _Kept] = {}
        self.implicit = syntax == _IMPLICIT_LITTLE or self._looks_implicit(content)
        self._tag = struct.Struct(self.order + "HH")
        self._start = struct.Struct(self.order + "HH2sH")
        self._short = struct.Struct(self.order + "H")
        self._long = struct.Struct(self.order + "L")

    def run(self) -> None:
        """Walk to the end of the file."""
        while self.content.has(8):
            self._take_short()
            if not self.content.has(8):
                break
            tag, vr, length = self._header(self.implicit)
            self.content.element = tag
            if tag in _PIXELS:
                self._take_pixels(length)
            elif tag in _FUNCTIONAL_GROUPS:
                self.content.tee = self.groups[tag] = _Kept(self.image)
                self._pass(vr, length, self.implicit, 0)
                self.content.tee = None
            elif length == _UNDEFINED or length > LONGEST_VALUE:
                self._pass(vr, length, self.implicit, 0)
            else:
                self.elements[tag] = Element(tag, vr, self.content.read(length))
        self.content.drain()

    def _take_short(self) -> None:
        """Take elements as long as they lie whole in what has been read, as nearly all do: one by one is slow."""
        content, elements = self.content, self.elements
        piece, at = content.piece, content.at
        last = len(piece) - 12
        unpack, long = self._start.unpack_from, self._long.unpack_from
        while at <= last:
            group, number, code, length = unpack(piece, at)
            tag, start = group << 16 | number, at + 8
            if tag in _TAKEN_APART or group == 0xFFFE:
                break
            if self.implicit:
                (length,) = long(piece, at + 4)
                vr = entry_of(tag).vr
            else:
                if code in _LONG_VRS:
                    (length,) = long(piece, start)
                    start += 4
                vr = _text_of_vr(code)
            if length > LONGEST_VALUE or start + length > len(piece):
                break
            elements[tag] = Element(tag, vr, piece[start : start + length])
            at = start + length
        content.at = at

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
        if vr in _LONG_VRS:
            content.read(2)
            length = self._long.unpack(content.read(4))[0]
        else:
            length = self._short.unpack(content.read(2))[0]
        return tag, vr.decode("ascii", errors="replace"), length

    def _take_pixels(self, length: int) -> None:
        self.pixels = True
        if length != _UNDEFINED:
            for piece in self.content.pieces(length):
                self.image.update(piece)
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
            for piece in self.content.pieces(length):
                if not first:
                    self.image.update(piece)
            first = False

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
            elif code in _LONG_VRS:
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
