"""Data elements as they are encoded: where each begins and ends, so that all others can be kept as they are.

PS3.5 7: explicit or implicit VR, little or big endian, sequences of defined and undefined length.
"""

from __future__ import annotations

import contextlib
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dicom_node.archive.content import LARGEST_INFLATED
from dicom_node.archive.dictionary import entry_of
from dicom_node.archive.part10 import read_meta, text_of
from dicom_node.errors import HeaderError, NotDicomError

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

Buffer = bytes | mmap

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 100
_PIECE = 1 << 18


class Raw(NamedTuple):
    """An element as encoded; offsets into its buffer."""

    tag: int
    vr: str
    start: int
    value: int  # where the value begins
    end: int  # behind the value, and the delimiter of a sequence of undefined length
    undefined: bool  # whether its length is


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a data set is encoded."""

    order: str  # "<" little endian, ">" big
    implicit: bool

    @classmethod
    def of(cls, syntax: str, data: Buffer, start: int = 0) -> Encoding:
        """That of a transfer syntax; some senders write implicit VR under an explicit one, as the first VR shows."""
        vr = data[start + 4 : start + 6]
        implicit = syntax == IMPLICIT_LITTLE or (len(vr) == 2 and not (vr.isalpha() and vr.isupper()))
        return cls(">" if syntax == EXPLICIT_BIG else "<", implicit)

    def header(self, tag: int, vr: str, length: int) -> bytes:
        """What stands before a value."""
        begin = struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if self.implicit or tag >> 16 == 0xFFFE:
            return begin + struct.pack(self.order + "L", length)
        if vr.encode() in _LONG_VRS:
            return begin + struct.pack(self.order + "2sHL", vr.encode(), 0, length)
        if length > 0xFFFF:
            raise HeaderError(f"{entry_of(tag).keyword} is too long for VR {vr}", reason="too-long")
        return begin + struct.pack(self.order + "2sH", vr.encode(), length)

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """An element; text is padded."""
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        return self.header(tag, vr, len(value)) + value

    def item(self, content: bytes) -> bytes:
        """An item of a sequence."""
        return self.header(_ITEM, "", len(content)) + content

    def elements(self, data: Buffer, start: int, end: int, depth: int = 0) -> Iterator[Raw]:
        """Each element from ``start`` to ``end``, in the order in which they stand; fewer than 8 bytes are padding.

        Raises:
            NotDicomError: the data end inside an element, or a sequence holds something else than items.
            HeaderError: sequences are nested beyond reason.
        """
        at = start
        while at + 8 <= end:
            found = self._element(data, at, end, depth)
            yield found
            at = found.end

    def items(self, data: Buffer, sequence: Raw) -> Iterator[tuple[int, int]]:
        """Begin and end of the content of each item of a sequence."""
        encoding = self.inside(sequence.vr)
        at = sequence.value
        while at + 8 <= sequence.end:
            tag, length = encoding._tag_and_length(data, at)
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise _damaged(sequence.tag)
            if length != _UNDEFINED:
                yield at + 8, at + 8 + length
                at += 8 + length
            else:
                end = encoding._end_of_item(data, at + 8, sequence.end, 1)
                yield at + 8, end - 8
                at = end

    def inside(self, vr: str) -> Encoding:
        """How the items of a sequence are encoded; one of VR UN holds implicit VR little endian (PS3.5 6.2.2)."""
        return Encoding("<", True) if vr == "UN" else self

    def _tag_and_length(self, data: Buffer, at: int) -> tuple[int, int]:
        group, number, length = struct.unpack_from(self.order + "HHL", data, at)
        return group << 16 | number, length

    def _element(self, data: Buffer, at: int, end: int, depth: int) -> Raw:
        tag, length = self._tag_and_length(data, at)
        value, vr = at + 8, entry_of(tag).vr
        if not self.implicit and tag >> 16 != 0xFFFE:
            coded = data[at + 4 : at + 6]
            vr = coded.decode("ascii", errors="replace")
            if coded in _LONG_VRS:
                if at + 12 > end:
                    raise _truncated(tag)
                (length,) = struct.unpack_from(self.order + "L", data, at + 8)
                value = at + 12
            else:
                (length,) = struct.unpack_from(self.order + "H", data, at + 6)
        if length != _UNDEFINED:
            if value + length > end:
                raise _truncated(tag)
            return Raw(tag, vr, at, value, value + length, False)
        return Raw(tag, vr, at, value, self.inside(vr)._end_of_sequence(data, value, end, tag, depth), True)

    def _end_of_sequence(self, data: Buffer, at: int, end: int, of: int, depth: int) -> int:
        if depth > _DEEPEST:
            raise HeaderError(f"sequences are nested deeper than {_DEEPEST}", reason="too-deep")
        while at + 8 <= end:
            tag, length = self._tag_and_length(data, at)
            at += 8
            if tag == _SEQUENCE_END:
                return at
            if tag != _ITEM:
                raise _damaged(of)
            at = self._end_of_item(data, at, end, depth + 1) if length == _UNDEFINED else at + length
        raise _truncated(of)

    def _end_of_item(self, data: Buffer, at: int, end: int, depth: int) -> int:
        for found in self.elements(data, at, end, depth):
            if found.tag == _ITEM_END:
                return found.end
        raise _truncated(_ITEM)


@dataclass(frozen=True, slots=True)
class DataSet:
    """The data set of a file, inflated where it is deflated."""

    meta: dict[int, bytes]  # file meta information by element number
    syntax: str
    encoding: Encoding
    data: mmap
    start: int  # of the first element
    head: bytes  # the file up to the data set


@contextlib.contextmanager
def mapped_data_set(path: Path) -> Iterator[DataSet]:
    """The data set of a Part 10 file, mapped into memory, not read.

    Raises:
        NotDicomError: no Part 10 file, one without a data set, or a damaged deflated one.
        OSError: the file cannot be read.
    """
    with contextlib.ExitStack() as stack:
        file: BinaryIO = stack.enter_context(path.open("rb"))
        meta = read_meta(file, path)
        start = file.tell()
        file.seek(0)
        head = file.read(start)
        syntax = text_of(meta.get(0x0010, b""))
        if syntax == DEFLATED:
            file, start = _inflated(file, stack, path), 0
        if path.stat().st_size == len(head) or file.seek(0, 2) == start:
            raise NotDicomError(f"{path} ends before its data set", reason="truncated")
        data = stack.enter_context(mmap(file.fileno(), 0, access=ACCESS_READ))
        yield DataSet(meta, syntax, Encoding.of(syntax, data, start), data, start, head)


def _inflated(file: BinaryIO, stack: contextlib.ExitStack, path: Path) -> BinaryIO:
    """What is deflated from the position of ``file`` on, as a file without a name."""
    out = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        while not inflater.eof and (piece := inflater.unconsumed_tail or file.read(_PIECE)):
            out.write(inflater.decompress(piece, _PIECE))
            if out.tell() > LARGEST_INFLATED:
                raise HeaderError(f"{path}: the deflated data set is too large", reason="too-large")
    except zlib.error as error:
        raise NotDicomError(f"{path}: the deflated data set is damaged: {error}", reason="damaged") from error
    out.flush()
    return out


def value_of(data: Buffer, raw: Raw) -> bytes:
    """The value of an element of defined length."""
    return bytes(data[raw.value : raw.end])


def _truncated(tag: int) -> NotDicomError:
    return NotDicomError(f"the data set ends inside ({tag >> 16:04X},{tag & 0xFFFF:04X})", reason="truncated")


def _damaged(tag: int) -> NotDicomError:
    return NotDicomError(f"the items of ({tag >> 16:04X},{tag & 0xFFFF:04X}) are damaged", reason="damaged")
