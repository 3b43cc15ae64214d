"""Walk a DICOM Part 10 file from front to back once: its elements, its digests, whether it is whole.

Nothing is decoded and nothing large is held: pixel data, sequences and long values flow past in pieces, so an
element that claims 3 GB costs no memory. PS3.10 7.1 (file meta information), PS3.5 7 (data elements) and A.5
(deflated). Reading is tolerant of what does not hinder use: wrong group lengths, unknown VRs, padding at the end.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dicom_node.archive.content import Content
from dicom_node.archive.walk import LONG_VRS, LONGEST_VALUE, Element, Run, Span, Walk
from dicom_node.errors import HeaderError, NotDicomError

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_DEFLATED = "1.2.840.10008.1.2.1.99"

Expected = Callable[[Mapping[int, bytes]], Mapping[int, Run]]  # file meta information of the file -> runs

_META = 1024  # bytes; more than nearly all file meta information has
_START = struct.Struct("<HH2sH")


@dataclass(frozen=True, slots=True)
class Part10:
    """What a file holds, apart from pixels, sequences and long values."""

    meta: dict[int, bytes]  # file meta information by element number, values as stored
    transfer_syntax: str
    little_endian: bool
    elements: dict[int, Element]  # of the data set, by tag
    pixels: bool  # whether it has Pixel Data
    digest: str  # SHA-256 of the data set as stored; empty where it was not asked for
    image_digest: str  # see ``Walk``; empty when there is no Pixel Data, or where it was not asked for
    size: int  # bytes of the file
    modified: float  # when it was written last, seconds since the epoch
    groups: dict[int, bytes]  # functional groups of a multi-frame image, by tag: values as stored, longer ones cut off
    implicit: bool  # implicit VR, also of the functional groups
    runs: tuple[Run, ...] = ()  # that were found as expected; their elements are among ``elements``
    strayed: bool = False  # a run was expected where another one is
    beginning: bytes = b""  # the first piece of the data set
    spans: tuple[Span, ...] = ()  # the elements that follow each other from its first byte on


def read_part10(path: Path, *, digests: bool = True, expected: Expected | None = None) -> Part10:
    """Walk the whole file. Without ``digests`` pixels are not read, only seen to be there.

    ``expected`` is asked for runs, by the tag of their first element; if there are none it is told spans.

    Raises:
        NotDicomError: no Part 10 file, or one that ends inside an element.
        HeaderError: no transfer syntax, or sequences nested beyond reason.
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        stat = os.fstat(file.fileno())
        size = stat.st_size
        meta = read_meta(file, path)
        syntax = text_of(meta.get(0x0010, b""))
        if not syntax:
            raise HeaderError(
                f"{path}: (0002,0010) Transfer Syntax UID is absent",
                reason="no-transfer-syntax",
                remedy="write the file anew with its transfer syntax, or send it over the network",
            )
        walk = Walk(
            Content(file, size - file.tell(), syntax == _DEFLATED, path, digests), syntax, expected and expected(meta)
        )
        walk.run()
    return Part10(
        meta=meta,
        transfer_syntax=syntax,
        little_endian=walk.order == "<",
        elements=walk.elements,
        pixels=walk.pixels,
        digest=walk.content.digest.hexdigest() if digests else "",
        image_digest=walk.image.hexdigest() if walk.pixels and digests else "",
        size=size,
        modified=stat.st_mtime,
        groups={tag: bytes(kept.value) for tag, kept in walk.groups.items()},
        implicit=walk.implicit,
        runs=tuple(walk.runs),
        strayed=walk.strayed,
        beginning=walk.beginning,
        spans=tuple(walk.spans),
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
        walk = Walk(Content(file, size, syntax == _DEFLATED, path), syntax)
        with contextlib.suppress(NotDicomError, HeaderError):
            walk.run()
        return walk.elements
    return {}


class MetaSpan(NamedTuple):
    """Where an element of the file meta information stands in its file."""

    number: int  # of group 0002
    value: int  # where its value begins
    end: int


def meta_spans(beginning: bytes) -> list[MetaSpan] | None:
    """The elements of the file meta information; None where they are not whole in the beginning of a file."""
    found: list[MetaSpan] = []
    at = 132
    while beginning[at : at + 2] == b"\x02\x00" and len(beginning) - at >= _START.size + 4:
        _, number, vr, length = _START.unpack_from(beginning, at)
        at += _START.size
        if vr in LONG_VRS:
            length = int.from_bytes(beginning[at : at + 4], "little")
            at += 4
        found.append(MetaSpan(number, at, at + length))
        at += length
    whole = len(beginning) - at >= _START.size + 4 and len({span.number for span in found}) == len(found)
    return found if found and whole else None


def text_of(value: bytes) -> str:
    """An ASCII value without its padding."""
    return value.decode("ascii", errors="replace").strip(" \0")


def read_meta(file: BinaryIO, path: Path) -> dict[int, bytes]:
    """The file meta information by element number; afterwards ``file`` stands at the data set's first byte.

    Raises:
        NotDicomError: no Part 10 file, or one that ends inside its meta information.
    """
    head = file.read(_META)
    if head[128:132] != b"DICM":
        raise NotDicomError(
            f"{path}: no DICOM file: 'DICM' does not stand at byte 128",
            remedy="send the object over the network, or convert it to a DICOM Part 10 file",
        )
    meta: dict[int, bytes] = {}
    at = 132
    while True:
        if len(head) - at < _START.size + 4:
            head += file.read(_META)
        # The group length is often wrong; the first tag of another group ends the meta information for certain.
        if len(head) - at < _START.size or head[at : at + 2] != b"\x02\x00":
            file.seek(at)
            return meta
        _, number, vr, length = _START.unpack_from(head, at)
        at += _START.size
        if vr in LONG_VRS:
            length = int.from_bytes(head[at : at + 4], "little")
            at += 4
        if at + length > len(head):
            head += file.read(length) if length <= LONGEST_VALUE else b""
        if at + length > len(head):
            raise NotDicomError(
                f"{path}: the file meta information ends inside (0002,{number:04X})",
                reason="truncated",
                remedy="send the object again",
            )
        meta[number] = head[at : at + length]
        at += length
