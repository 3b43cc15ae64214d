"""Data sets in the DICOM JSON Model (PS3.18 F), read from their files without decoding a pixel.

Numbers are numbers, names are split into their groups, text is Unicode whatever character set it came in. Binary
values longer than ``LONGEST_INLINE`` are named by a BulkDataURI; it is written relative to the instance's own
``bulkdata/``, since the address of the server is not the archive's business: see :func:`with_base`.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicom_node.archive.elements import Buffer, DataSet, Encoding, Raw, mapped_data_set
from dicom_node.archive.part10 import text_of
from dicom_node.errors import HeaderError, NotDicomError

LONGEST_INLINE = 256  # bytes of a binary value that stands in the JSON itself
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)

_CHARACTER_SET, _PIXEL_REPRESENTATION, _PADDING = 0x00080005, 0x00280103, 0xFFFCFFFC
_UTF_8 = "ISO_IR 192"
_DELIMITERS = {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D}
_PLAIN = frozenset(("AE", "AS", "CS", "DA", "DT", "TM", "UI"))
_NAMES = frozenset(("LO", "SH", "UC"))
_PARAGRAPHS = frozenset(("LT", "ST", "UT"))
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_BINARY = {"OB": 1, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8, "UN": 1}  # bytes of a word
_AMBIGUOUS = {"OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_URI = b'"BulkDataURI":"'  # a quote within a text is escaped, so nothing but the key itself looks like this

Model = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Within:
    """What holds for the elements of one data set or item."""

    encoding: Encoding
    encodings: tuple[str, ...]  # Python's names of its character sets; empty: none was declared
    signed: bool
    where: str  # "" or "54000100/1/": the way to the item


def model_of(path: Path) -> Model:
    """The data set of a Part 10 file, without file meta information and group lengths.

    Raises:
        NotDicomError, HeaderError: the file is damaged.
        OSError: it cannot be read.
    """
    with mapped_data_set(path) as found:
        return _item(found.data, found.start, len(found.data), _Within(found.encoding, (), False, ""))


def text_of_model(model: Model) -> bytes:
    """A model as JSON in UTF-8."""
    return json.dumps(model, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


def with_base(text: bytes, base: str) -> bytes:
    """JSON of an instance with absolute BulkDataURIs: ``base`` is the address of the instance."""
    return text.replace(_URI, _URI + base.encode("ascii") + b"/bulkdata/")


def of_plain(attributes: Mapping[str, Any]) -> Model:
    """Attributes as the ledger keeps them, plain values by keyword, as a model."""
    found: Model = {}
    for keyword, value in attributes.items():
        tag = tag_of(keyword)
        if tag is not None:
            vr = resolved(dictionary_vr(tag), signed=any(part < 0 for part in _numbers(value)))
            found[f"{tag:08X}"] = element(vr, value if isinstance(value, list) else [value])
    return found


def element(vr: str, values: list[Any]) -> Model:
    """An element of values that are plain already: text, numbers, names with ``=`` between their groups."""
    if vr == "PN":
        values = [_name(str(value)) for value in values]
    elif vr in _NUMBERS or vr in ("IS", "DS"):
        values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    return {"vr": vr, "Value": values} if values else {"vr": vr}


@lru_cache(4096)
def tag_of(keyword: str) -> int | None:
    """The tag of a keyword of PS3.6."""
    return tag_for_keyword(keyword)


@lru_cache(8192)
def dictionary_vr(tag: int) -> str:
    """The VR that PS3.6 gives a tag, of repeating groups too; ``UN`` where it knows none."""
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def resolved(vr: str, *, signed: bool) -> str:
    """A VR of the dictionary that leaves a choice, decided."""
    return ("SS" if signed else "US") if vr == "US or SS" else _AMBIGUOUS.get(vr, vr)


@dataclass(frozen=True, slots=True)
class Bulk:
    """A binary value in its file."""

    data: Buffer
    start: int
    end: int
    word: int  # bytes that are to be reversed; 1: none

    def pieces(self, size: int = 1 << 18) -> Iterator[bytes]:
        """The value, little endian, piece by piece."""
        for at in range(self.start, self.end, size):
            piece = bytes(self.data[at : min(at + size, self.end)])
            yield piece if self.word == 1 else swapped(piece, self.word)


@contextmanager
def bulk_of(path: Path, where: str) -> Iterator[Bulk]:
    """The value that a BulkDataURI ending in ``where`` names, e.g. ``54000100/1/54001010``.

    Raises:
        HeaderError: there is no such value; its reason is ``no-such-value``.
        NotDicomError, OSError: the file cannot be read.
    """
    with mapped_data_set(path) as found:
        raw, encoding = _follow(found, where)
        vr = _vr(raw, encoding, signed=False)
        if raw.undefined or vr not in _BINARY:  # all others stand in the metadata
            raise _absent(where)
        word = _BINARY[vr] if encoding.order == ">" else 1
        yield Bulk(found.data, raw.value, raw.end, word)


def swapped(data: bytes, word: int) -> bytes:
    """Words of so many bytes with their bytes in reverse order."""
    out = bytearray(data)
    for byte in range(word):
        out[byte::word] = data[word - 1 - byte :: word]
    return bytes(out)


def _follow(found: DataSet, where: str) -> tuple[Raw, Encoding]:
    steps = where.split("/")
    start, end, encoding = found.start, len(found.data), found.encoding
    for depth in range(0, len(steps), 2):
        raw = next((raw for raw in encoding.elements(found.data, start, end) if f"{raw.tag:08X}" == steps[depth]), None)
        if raw is None:
            raise _absent(where)
        if depth == len(steps) - 1:
            return raw, encoding
        items, number = list(encoding.items(found.data, raw)), steps[depth + 1]
        if not number.isascii() or not number.isdigit() or not 1 <= int(number[:9]) <= len(items):
            raise _absent(where)
        start, end = items[int(number) - 1]
        encoding = encoding.inside(raw.vr)
    raise _absent(where)


def _absent(where: str) -> HeaderError:
    return HeaderError(f"the object has no value at {where}", reason="no-such-value")


def _item(data: Buffer, start: int, end: int, within: _Within) -> Model:
    found: Model = {}
    for raw in within.encoding.elements(data, start, end):
        if raw.tag & 0xFFFF == 0 or raw.tag == _PADDING or raw.tag >> 16 == 0xFFFE:
            continue
        if raw.tag == _CHARACTER_SET:
            within = replace(within, encodings=_encodings(bytes(data[raw.value : raw.end])))
        elif raw.tag == _PIXEL_REPRESENTATION:
            within = replace(within, signed=bytes(data[raw.value : raw.value + 2]) in (b"\0\1", b"\1\0"))
        found[f"{raw.tag:08X}"] = _element(data, raw, within)
    if "00080005" in found:
        found["00080005"] = {"vr": "CS", "Value": [_UTF_8]}
    return found


def _element(data: Buffer, raw: Raw, within: _Within) -> Model:
    vr = _vr(raw, within.encoding, signed=within.signed)
    here = f"{within.where}{raw.tag:08X}"
    if vr == "SQ":
        # An item takes the character set of the data set around it, unless it declares its own (PS3.5 6.1.2.3).
        inner = replace(within, encoding=within.encoding.inside(raw.vr))
        try:
            items = [
                _item(data, start, end, replace(inner, where=f"{here}/{number}/"))
                for number, (start, end) in enumerate(within.encoding.items(data, raw), start=1)
            ]
        except NotDicomError:  # of known length, but no sequence: the rest of the object can be read all the same
            return _binary(data, raw, "UN", here, within.encoding.order)
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if raw.undefined or vr in _BINARY:
        return _binary(data, raw, vr, here, within.encoding.order)
    stored = bytes(data[raw.value : raw.end])
    try:
        values = _values(vr, stored, within)
    except (ValueError, struct.error):  # it is not what its VR promises, and is given as it stands
        return {"vr": "UN", "InlineBinary": base64.b64encode(stored).decode("ascii")}
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _vr(raw: Raw, encoding: Encoding, *, signed: bool) -> str:
    vr = raw.vr
    if vr in ("UN", "") or not (len(vr) == 2 and vr.isalpha() and vr.isupper()):
        vr = dictionary_vr(raw.tag)
        if vr == "UN" and raw.undefined and raw.tag not in PIXELS:
            return "SQ"
    return resolved(vr, signed=signed)


def _binary(data: Buffer, raw: Raw, vr: str, here: str, order: str) -> Model:
    vr = vr if vr in _BINARY else "UN"
    length = raw.end - raw.value
    if not length:
        return {"vr": vr}
    if raw.undefined or raw.tag in PIXELS or length > LONGEST_INLINE:
        return {"vr": vr, "BulkDataURI": here}
    stored = bytes(data[raw.value : raw.end])
    if order == ">" and _BINARY[vr] > 1:
        stored = swapped(stored, _BINARY[vr])
    return {"vr": vr, "InlineBinary": base64.b64encode(stored).decode("ascii")}


def _encodings(stored: bytes) -> tuple[str, ...]:
    names = [name.replace("\0", "").strip() for name in text_of(stored).split("\\")]
    return tuple(convert_encodings(names)) if any(names) else ()


def _decoded(stored: bytes, within: _Within) -> str:
    if stored.isascii() and 0x1B not in stored:
        return stored.decode("ascii").replace("\0", "")
    if within.encodings:
        return decode_bytes(stored, within.encodings, _DELIMITERS).replace("\0", "")
    # No character set was declared, and yet there is more than ASCII: see ``dicom_node.archive.characters``.
    try:
        return stored.decode("utf-8")
    except UnicodeDecodeError:
        return stored.decode("latin-1")


def _values(vr: str, stored: bytes, within: _Within) -> list[Any]:
    order = within.encoding.order
    if vr in _NUMBERS:
        size = struct.calcsize("=" + _NUMBERS[vr])
        numbers = struct.unpack(f"{order}{len(stored) // size}{_NUMBERS[vr]}", stored)
        return [_finite(number) for number in numbers]
    if vr == "AT":
        words = struct.unpack(f"{order}{len(stored) // 2}H", stored)
        return [f"{words[at]:04X}{words[at + 1]:04X}" for at in range(0, len(words), 2)]
    if vr in _PARAGRAPHS or vr == "UR":
        text = _decoded(stored, within).rstrip(" \0") if vr != "UR" else text_of(stored)
        return [text] if text else []
    if vr in _NAMES or vr == "PN":
        return _parts(_decoded(stored.rstrip(b" \0"), within), _name if vr == "PN" else str)
    text = text_of(stored).replace("\0", "")
    if vr in ("IS", "DS"):
        return _parts(text, _number)
    if vr in _PLAIN:
        return _parts(text, str)
    raise ValueError(vr)


def _parts(text: str, made: Any) -> list[Any]:
    """Values between backslashes; one that is empty among others is null (PS3.18 F.2.5)."""
    parts = [part.strip() for part in text.split("\\")]
    return [made(part) if part else None for part in parts] if any(parts) else []


def _name(text: str) -> dict[str, str]:
    groups = (group.rstrip(" ") for group in text.split("="))
    return {key: group for key, group in zip(_GROUPS, groups, strict=False) if group}


def _number(text: str) -> int | float | str:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text  # a value that is no number is given as it stands (PS3.18 F.2.3)
    return number if math.isfinite(number) else text


def _finite(number: float) -> float | str:
    if isinstance(number, int) or math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "inf" if number > 0 else "-inf"


def _numbers(value: Any) -> Iterator[float]:
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, int | float):
            yield part
