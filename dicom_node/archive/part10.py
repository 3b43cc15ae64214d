"""Walk a DICOM Part 10 file from front to back once: its elements, its digests, whether it is whole.

Nothing is decoded and nothing large is held: pixel data, sequences and long values flow past in pieces, so an
element that claims 3 GB costs no memory. PS3.10 7.1 (file meta information), PS3.5 7 (data elements) and A.5
(deflated). Reading is tolerant of what does not hinder use: wrong group lengths, unknown VRs, padding at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from pydicom.datadict import dictionary_has_tag, get_entry

from dicom_node.errors import HeaderError, NotDicomError

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"

LONGEST_VALUE = 16384  # bytes; longer values are not attributes that anybody asks for
LARGEST_INFLATED = 8 << 30  # bytes; a deflated data set beyond it is refused
_DEEPEST_SEQUENCE = 100
_PIECE = 1 << 18

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


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


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
        walk = _Walk(_Content(file, size - file.tell(), syntax == _DEFLATED, path), syntax)
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
        walk = _Walk(_Content(file, size, syntax == _DEFLATED, path), syntax)
        with contextlib.suppress(NotDicomError, HeaderError):
            walk.run()
        return walk.elements
    return {}


def text_of(value: bytes) -> str:
    """An ASCII value without its padding."""
    return value.decode("ascii", errors="replace").strip(" \0")


class Entry(NamedTuple):
    """What the DICOM dictionary says of a tag (PS3.6)."""

    vr: str
    keyword: str
    name: str


@lru_cache(8192)
def entry_of(tag: int) -> Entry:
    """The dictionary's entry; VR ``UN`` and no keyword for private, unknown and repeating ones (overlays, curves)."""
    if not dictionary_has_tag(tag):
        return Entry("UN", "", "")
    vr, _, name, _, keyword = get_entry(tag)
    return Entry(vr, keyword, name)


@lru_cache(256)
def _text_of_vr(code: bytes) -> str:
    return code.decode("ascii", errors="replace")


def name_of(tag: int) -> str:
    """``(0020,000D) Study Instance UID``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {entry_of(tag).name}".rstrip()


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


@dataclass(slots=True)
class _Content:
    """The bytes of a data set, inflated where they are deflated; hashes what is stored."""

    file: BinaryIO
    left: int  # stored bytes not read yet
    deflated: bool
    path: Path
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    tee: _Hash | None = None  # also takes in all that is consumed
    element: int = 0  # tag being read, to name it when the file ends
    _piece: bytes = b""
    _at: int = 0
    _inflater: zlib._Decompress | None = None
    _inflated: int = 0

    def __post_init__(self) -> None:
        if self.deflated:
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        if len(self._piece) - self._at < count:
            return b"".join(self.pieces(count))
        data = self._piece[self._at : self._at + count]
        self._at += count
        if self.tee is not None:
            self.tee.update(data)
        return data

    def skip(self, count: int) -> None:
        """Let ``count`` bytes pass."""
        for _ in self.pieces(count):
            continue

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next ``count`` bytes in pieces."""
        if not self.deflated and count > self.left + len(self._piece) - self._at:
            self._raise_truncated()
        while count:
            if self._at == len(self._piece) and not self._fill():
                self._raise_truncated()
            data = self._piece[self._at : self._at + count]
            self._at += len(data)
            count -= len(data)
            if self.tee is not None:
                self.tee.update(data)
            yield data

    def has(self, count: int) -> bool:
        """Whether at least ``count`` bytes follow."""
        while len(self._piece) - self._at < count:
            rest = self._piece[self._at :]
            if not self._fill():
                return False
            self._piece, self._at = rest + self._piece, 0
        return True

    def drain(self) -> None:
        """Read to the end of the file."""
        while self._fill():
            continue

    def _fill(self) -> bool:
        """Take the next piece; False at the end."""
        while True:
            rest = self._inflater.unconsumed_tail if self._inflater and not self._inflater.eof else b""
            stored = rest or self.file.read(_PIECE)
            if not stored:
                return False
            if not rest:
                self.left -= len(stored)
                self.digest.update(stored)
            data = self._inflate(self._inflater, stored) if self._inflater else stored
            if data:
                self._piece, self._at = data, 0
                return True

    def _inflate(self, inflater: zlib._Decompress, stored: bytes) -> bytes:
        if inflater.eof:  # what follows the deflated stream is padding
            return b""
        try:
            data = inflater.decompress(stored, _PIECE)
        except zlib.error as error:
            raise NotDicomError(f"{self.path}: the deflated data set is damaged: {error}", reason="damaged") from error
        self._inflated += len(data)
        if self._inflated > LARGEST_INFLATED:
            raise HeaderError(
                f"{self.path}: the deflated data set is larger than {LARGEST_INFLATED >> 30} GiB", reason="too-large"
            )
        return data

    def _raise_truncated(self) -> None:
        raise NotDicomError(
            f"{self.path}: the file ends inside {name_of(self.element)}",
            reason="truncated",
            remedy="send the object again; it was cut off before it reached us",
        )


class _Walk:
    """One pass over a data set.

    ``image`` becomes the SHA-256 of what makes the image: the value of Pixel Data (of encapsulated ones the
    fragments without Basic Offset Table and item headers) and, in multi-frame images, the functional groups.
    """

    def __init__(self, content: _Content, syntax: str) -> None:
        self.content = content
        self.order = ">" if syntax == _EXPLICIT_BIG else "<"
        self.elements: dict[int, Element] = {}
        self.pixels = False
        self.image = hashlib.sha256()
        self._implicit = syntax == _IMPLICIT_LITTLE or self._looks_implicit(content)
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
            tag, vr, length = self._header(self._implicit)
            self.content.element = tag
            if tag in _PIXELS:
                self._take_pixels(length)
            elif tag in _FUNCTIONAL_GROUPS:
                self.content.tee = self.image
                self._pass(vr, length, self._implicit, 0)
                self.content.tee = None
            elif length == _UNDEFINED or length > LONGEST_VALUE:
                self._pass(vr, length, self._implicit, 0)
            else:
                self.elements[tag] = Element(tag, vr, self.content.read(length))
        self.content.drain()

    def _take_short(self) -> None:
        """Take elements as long as they lie whole in what has been read, as nearly all do: one by one is slow."""
        content, elements = self.content, self.elements
        piece, at = content._piece, content._at
        last = len(piece) - 12
        unpack, long = self._start.unpack_from, self._long.unpack_from
        while at <= last:
            group, number, code, length = unpack(piece, at)
            tag, start = group << 16 | number, at + 8
            if tag in _TAKEN_APART or group == 0xFFFE:
                break
            if self._implicit:
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
        content._at = at

    @staticmethod
    def _looks_implicit(content: _Content) -> bool:
        """Some senders write implicit VR under an explicit transfer syntax; the first element gives them away."""
        if not content.has(6):
            return False
        vr = content._piece[content._at + 4 : content._at + 6]
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

    def _pass_item(self, implicit: bool, depth: int) -> None:
        while True:
            tag, vr, length = self._header(implicit)
            if tag in (_ITEM_END, _SEQUENCE_END):
                return
            self._pass(vr, length, implicit, depth + 1)
