"""Objects as a destination is to get them: the same bytes but for the changed attributes, and a note of these.

What was changed is told in the Original Attributes Sequence (0400,0561) (PS3.3 C.12.1): each previous value, who
changed it, when, why, and who had sent it. Every other element keeps its encoding bit for bit, in every transfer
syntax. The stored file is only read.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import BinaryIO

from pydicom.charset import convert_encodings, decode_bytes

from dicom_node.archive.elements import DEFLATED, DataSet, Encoding, Raw, mapped_data_set, value_of
from dicom_node.archive.part10 import text_of
from dicom_node.domain.changes import CHANGEABLE, Changes, Coercion
from dicom_node.errors import HeaderError, InputError

ORIGINAL_ATTRIBUTES = 0x04000561
MODIFIED_ATTRIBUTES, TIME, SYSTEM, SOURCE, REASON = 0x04000550, 0x04000562, 0x04000563, 0x04000564, 0x04000565
COERCE = "COERCE"
_CHARACTER_SET = 0x00080005
_SIGNATURES = 0x4FFE0001  # MAC Parameters Sequence; stands before the pixels, the signatures behind them
_REQUESTS = (0x00400275, 0x0040A370)  # Request Attributes and Referenced Request Sequence: accession numbers again
_ACCESSION = CHANGEABLE["AccessionNumber"].tag
_DELIMITERS = {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D}
_DELIMITER_LENGTH = 8
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Edit:
    """Bytes of the data set that are replaced."""

    start: int
    end: int
    new: bytes
    tag: int


def coerced(path: Path, coercion: Coercion) -> BinaryIO:
    """A Part 10 file without a name, to be read from its first byte: ``path`` with the changes.

    Raises:
        InputError: the object cannot be changed so: a value would be too long, it is signed, or damaged.
        OSError: a file cannot be read or written.
    """
    out = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    try:
        with mapped_data_set(path) as found:
            try:
                edits = _edits(found, coercion)
            except ValueError as error:
                raise _refused(path, str(error), "shorten the prefix of the peer, or correct the object") from error
            out.write(found.head)
            _write(out, found, edits)
    except BaseException:
        out.close()
        raise
    out.seek(0)
    return out


def scan(found: DataSet) -> dict[int, Raw]:
    """The elements of a data set that can concern a change, by tag, in their order."""
    scanned: dict[int, Raw] = {}
    for raw in found.encoding.elements(found.data, found.start, len(found.data)):
        if raw.tag > _SIGNATURES:
            break
        scanned[raw.tag] = raw
    return scanned


def _refused(path: Path, why: str, remedy: str) -> InputError:
    return InputError(
        f"{path.name} cannot be changed for this destination: {why}", reason="unchangeable", remedy=remedy
    )


def _edits(found: DataSet, coercion: Coercion) -> list[_Edit]:
    """What is to be replaced, in order; nothing where the object is as the destination gets it."""
    scanned = scan(found)
    if _SIGNATURES in scanned:
        raise ValueError("it bears a digital signature, which a change would break")
    told = _told_before(found, scanned, coercion.system)
    new: dict[int, bytes] = {}
    for keyword in coercion.changes.keywords:
        tag = CHANGEABLE[keyword].tag
        value = _new_value(found, scanned, coercion.changes, keyword, told)
        if value is not None:
            new[tag] = value
    if "AccessionNumber" in coercion.changes.prefix:
        for tag in _REQUESTS:
            if tag in scanned and tag not in told:
                again = _requests(found, scanned, scanned[tag], coercion.changes)
                new |= {tag: again} if again is not None else {}
    if not new:
        return []
    edits = [_edit(scanned, found, tag, value) for tag, value in new.items()]
    edits.append(_edit(scanned, found, ORIGINAL_ATTRIBUTES, _note(found, scanned, sorted(new), coercion)))
    return sorted(edits + _group_lengths(found, scanned, edits), key=lambda edit: (edit.start, edit.end, edit.tag))


def _new_value(
    found: DataSet, scanned: Mapping[int, Raw], changes: Changes, keyword: str, told: Mapping[int, str]
) -> bytes | None:
    """The element as it is to be, empty where it goes; None: it stays."""
    entry = CHANGEABLE[keyword]
    raw = scanned.get(entry.tag)
    old = _text(found, scanned, raw) if raw else ""
    before = told.get(entry.tag) if keyword in changes.prefix else None
    if before is not None and old == changes.value(keyword, before):
        return None  # it came back to us, changed by us before
    new = changes.value(keyword, old or None)
    if (new or "") == old:
        return None
    return b"" if new is None else _element(found, raw, keyword, changes, new)


def _element(found: DataSet, raw: Raw | None, keyword: str, changes: Changes, new: str) -> bytes:
    entry = CHANGEABLE[keyword]
    value = new.encode("ascii") if raw is None or keyword not in changes.prefix else b""
    if not value and raw is not None:  # the old value keeps its character set, whatever that is
        value = changes.prefix[keyword].encode("ascii") + value_of(found.data, raw).strip(b" \0")
    return found.encoding.element(entry.tag, entry.vr, value)


def _text(found: DataSet, scanned: Mapping[int, Raw], raw: Raw) -> str:
    if raw.undefined:
        raise HeaderError(f"({raw.tag >> 16:04X},{raw.tag & 0xFFFF:04X}) is no text", reason="no-text")
    names = value_of(found.data, scanned[_CHARACTER_SET]) if _CHARACTER_SET in scanned else b""
    encodings = convert_encodings([name.replace("\0", "").strip() for name in text_of(names).split("\\")])
    return decode_bytes(value_of(found.data, raw).strip(b" \0"), encodings, _DELIMITERS).strip()


def _requests(found: DataSet, scanned: Mapping[int, Raw], sequence: Raw, changes: Changes) -> bytes | None:
    """A sequence of requests with their accession numbers changed; None: there are none."""
    encoding, items, changed = found.encoding.inside(sequence.vr), b"", False
    for start, end in found.encoding.items(found.data, sequence):
        content = b""
        for raw in encoding.elements(found.data, start, end):
            if raw.tag == _ACCESSION and (old := _text(found, scanned, raw)):
                changes.value("AccessionNumber", old)
                prefix = changes.prefix["AccessionNumber"].encode("ascii")
                content += encoding.element(_ACCESSION, "SH", prefix + value_of(found.data, raw).strip(b" \0"))
                changed = True
            else:
                content += found.data[raw.start : raw.end]
        items += encoding.item(content)
    return found.encoding.header(sequence.tag, sequence.vr, len(items)) + items if changed else None


def _note(found: DataSet, scanned: Mapping[int, Raw], tags: list[int], coercion: Coercion) -> bytes:
    """The Original Attributes Sequence with one more item. An attribute that was absent is told as empty."""
    old = scanned.get(ORIGINAL_ATTRIBUTES)
    inner = found.encoding.inside(old.vr) if old else found.encoding
    previous = b"".join(_previous(found, inner, tag, scanned.get(tag)) for tag in tags)
    modified = inner.item(previous)
    source = text_of(found.meta.get(0x0016, b"")) or text_of(found.meta.get(0x0017, b"")) or coercion.system
    at = coercion.at.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")
    content = inner.header(MODIFIED_ATTRIBUTES, "SQ", len(modified)) + modified
    for tag, vr, text in (
        (TIME, "DT", at),
        (SYSTEM, "LO", coercion.system.strip()),
        (SOURCE, "LO", source),
        (REASON, "CS", COERCE),
    ):
        content += inner.element(tag, vr, text.encode("ascii", errors="replace"))
    item = inner.item(content)
    if old is None:
        return found.encoding.header(ORIGINAL_ATTRIBUTES, "SQ", len(item)) + item
    if not old.undefined:
        items = value_of(found.data, old) + item
        return found.encoding.header(ORIGINAL_ATTRIBUTES, old.vr, len(items)) + items
    end = old.end - _DELIMITER_LENGTH
    return bytes(found.data[old.start : end]) + item + bytes(found.data[end : old.end])


def _previous(found: DataSet, inner: Encoding, tag: int, raw: Raw | None) -> bytes:
    if raw is None:
        vr = next(entry.vr for entry in CHANGEABLE.values() if entry.tag == tag)
        return inner.element(tag, vr, b"")
    if inner == found.encoding:
        return bytes(found.data[raw.start : raw.end])
    if raw.undefined or raw.vr == "SQ":
        raise HeaderError("its Original Attributes Sequence has VR UN, which cannot take a sequence", reason="vr-un")
    return inner.element(tag, raw.vr, value_of(found.data, raw))


def _told_before(found: DataSet, scanned: Mapping[int, Raw], system: str) -> dict[int, str]:
    """What this system has changed in the object before: the last previous value of each tag."""
    told: dict[int, str] = {}
    for item in originals(found, scanned):
        if item.system == system.strip():
            told |= {
                raw.tag: "" if raw.undefined or raw.vr == "SQ" else _text(found, scanned, raw) for raw in item.previous
            }
    return told


@dataclass(frozen=True, slots=True)
class Original:
    """An item of an Original Attributes Sequence."""

    system: str
    reason: str
    previous: tuple[Raw, ...]  # elements of the Modified Attributes Sequence
    little_endian: bool


def originals(found: DataSet, scanned: Mapping[int, Raw]) -> Iterator[Original]:
    """The items of the Original Attributes Sequence, as they stand."""
    sequence = scanned.get(ORIGINAL_ATTRIBUTES)
    if sequence is None:
        return
    inner = found.encoding.inside(sequence.vr)
    for start, end in found.encoding.items(found.data, sequence):
        texts, previous = {SYSTEM: "", REASON: ""}, tuple[Raw, ...]()
        for raw in inner.elements(found.data, start, end):
            if raw.tag in texts:
                texts[raw.tag] = text_of(value_of(found.data, raw))
            elif raw.tag == MODIFIED_ATTRIBUTES:
                within = inner.inside(raw.vr)
                for first, last in inner.items(found.data, raw):
                    previous += tuple(within.elements(found.data, first, last))
        yield Original(texts[SYSTEM], texts[REASON], previous, inner.order == "<")


def _edit(scanned: Mapping[int, Raw], found: DataSet, tag: int, new: bytes) -> _Edit:
    raw = scanned.get(tag)
    if raw is not None:
        return _Edit(raw.start, raw.end, new, tag)
    after = next((other.start for other in scanned.values() if other.tag > tag), None)
    if after is None:
        after = max((other.end for other in scanned.values()), default=found.start)
    return _Edit(after, after, new, tag)


def _group_lengths(found: DataSet, scanned: Mapping[int, Raw], edits: list[_Edit]) -> list[_Edit]:
    """Group lengths (retired) that still stand in old objects, as they are to be."""
    grown: Counter[int] = Counter()
    for edit in edits:
        grown[edit.tag >> 16] += len(edit.new) - (edit.end - edit.start)
    corrected = []
    for group, more in grown.items():
        raw = scanned.get(group << 16)
        if raw is not None and raw.end - raw.value == 4:
            (length,) = struct.unpack_from(found.encoding.order + "L", found.data, raw.value)
            value = struct.pack(found.encoding.order + "L", (length + more) & 0xFFFFFFFF)
            corrected.append(_Edit(raw.value, raw.end, value, raw.tag))
    return corrected


def _write(out: BinaryIO, found: DataSet, edits: list[_Edit]) -> None:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS) if found.syntax == DEFLATED else None
    for piece in _pieces(found, edits):
        out.write(piece if deflater is None else deflater.compress(piece))
    if deflater is not None:
        end = deflater.flush()
        out.write(end + b"\0" * ((out.tell() + len(end) - len(found.head)) % 2))  # PS3.5 A.5: even length


def _pieces(found: DataSet, edits: list[_Edit]) -> Iterator[bytes]:
    at = found.start
    for edit in [*edits, _Edit(len(found.data), len(found.data), b"", 0)]:
        for start in range(at, edit.start, _PIECE):
            yield found.data[start : min(start + _PIECE, edit.start)]
        yield edit.new
        at = edit.end
