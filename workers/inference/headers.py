"""Headers read in one pass over the bytes before the pixel data, without an object for each element's value.

pydicom reads a header with several calls per element; a series of hundreds of images spends most of its loading there.
Here the elements of the data set are found by their lengths alone, and stand in a pydicom data set as it holds what it
has read and not yet converted; so every value is still converted by pydicom, when somebody asks for it. What is not
plainly Part 10 in a Little Endian syntax is left to pydicom, whose judgement and errors count.
"""

from __future__ import annotations

import struct
from collections.abc import MutableMapping
from pathlib import Path

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

_FIRST_READ = 1 << 15  # bytes; headers of single-frame images are a few thousand
_MOST_READ = 1 << 24  # headers of multi-frame objects; longer ones are left to pydicom
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_META_AT = 132
_PLAIN = [uid for uid in AllTransferSyntaxes if uid not in (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)]
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_VRS = {str(vr).encode(): (str(vr), vr in EXPLICIT_VR_LENGTH_32) for vr in STANDARD_VR}
_Elements = MutableMapping[BaseTag, DataElement | RawDataElement]
_SHORT = struct.Struct("<HH2sH").unpack_from
_LONG = struct.Struct("<I").unpack_from
_IMPLICIT = struct.Struct("<HHI").unpack_from


class NotPlain(Exception):
    """pydicom is to read it."""


class _CutOff(Exception):
    """More bytes are needed."""


def read(path: Path) -> tuple[Dataset, int]:
    """The header, with its file meta information, and the byte offset of the pixel data.

    Raises:
        NotPlain: the file is not plainly Part 10 in a Little Endian transfer syntax, or has no pixel data.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        data = file.read(_FIRST_READ)
        while True:
            try:
                return _parsed(data)
            except _CutOff:
                more = file.read(min(len(data) * 3, _MOST_READ))
                if not more or len(data) >= _MOST_READ:
                    raise NotPlain from None
                data += more


def _parsed(data: bytes) -> tuple[Dataset, int]:
    if data[128:_META_AT] != b"DICM":
        raise NotPlain
    meta, at = _elements(data, _META_AT, implicit=False, meta=True)
    file_meta = FileMetaDataset()
    for element in meta.values():
        file_meta[element.tag] = element
    syntax = file_meta.get("TransferSyntaxUID")
    if syntax not in _PLAIN:
        raise NotPlain
    implicit = syntax == ImplicitVRLittleEndian
    elements, at = _elements(data, at, implicit=implicit)
    header = Dataset(elements)
    encodings: str | list[str] = default_encoding
    if header.get("SpecificCharacterSet"):
        encodings = convert_encodings(header.SpecificCharacterSet)
    header.set_original_encoding(implicit, True, encodings)
    header.file_meta = file_meta
    return header, at


def _elements(data: bytes, at: int, *, implicit: bool, meta: bool = False) -> tuple[_Elements, int]:
    """The elements from ``at`` on up to the pixel data, or those of group 2 alone; and where they end."""
    found: _Elements = {}
    last = 0
    while True:
        if len(data) < at + 12:
            raise _CutOff
        group, element, vr_code, length = _SHORT(data, at)
        tag = group << 16 | element
        if (group != 2) if meta else (tag in _PIXELS):
            return found, at
        if tag <= last:  # elements ascend; damaged lengths lead elsewhere
            raise NotPlain
        last = tag
        vr: str | None = None
        begins = at + 8
        if implicit:
            length = _LONG(data, at + 4)[0]
        else:
            known = _VRS.get(vr_code)
            if known is None:
                raise NotPlain
            vr, long = known
            if long:
                length = _LONG(data, begins)[0]
                begins += 4
        if length == _UNDEFINED:
            if vr not in (None, "SQ"):
                raise NotPlain
            vr, ends = "SQ", _end_of_items(data, begins, implicit)
            at = ends + 8
        else:
            at = ends = begins + length
            if len(data) < ends:
                raise _CutOff
        value = data[begins:ends] if ends > begins else empty_value_for_VR(vr, raw=True)
        name = BaseTag(tag)
        found[name] = RawDataElement(name, vr, ends - begins, value, begins, implicit, True)  # type: ignore[arg-type]


def _end_of_items(data: bytes, at: int, implicit: bool) -> int:
    """Where the delimiter of a sequence of undefined length stands, whose items begin at ``at``."""
    while True:
        if len(data) < at + 8:
            raise _CutOff
        group, element, length = _IMPLICIT(data, at)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise NotPlain
        at = _end_of_item(data, at + 8, implicit) + 8 if length == _UNDEFINED else at + 8 + length


def _end_of_item(data: bytes, at: int, implicit: bool) -> int:
    """Where the delimiter of an item of undefined length stands, whose elements begin at ``at``."""
    while True:
        if len(data) < at + 12:
            raise _CutOff
        group, element, vr_code, length = _SHORT(data, at)
        if group << 16 | element == _ITEM_END:
            return at
        begins = at + 8
        if implicit:
            length = _LONG(data, at + 4)[0]
            sequence = True
        else:
            known = _VRS.get(vr_code)
            if known is None:
                raise NotPlain
            if known[1]:
                length = _LONG(data, begins)[0]
                begins += 4
            sequence = known[0] == "SQ"
        if length != _UNDEFINED:
            at = begins + length
        elif sequence:
            at = _end_of_items(data, begins, implicit) + 8
        else:
            raise NotPlain
