"""Read from a stored object what the index needs, without touching its pixels."""

from __future__ import annotations

import contextlib
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from isal.isal_zlib import crc32
from pydicom.charset import convert_encodings, decode_bytes

from dicom_node.archive.dictionary import entry_of, name_of
from dicom_node.archive.functional_groups import frame_planes
from dicom_node.archive.part10 import Part10, begin_part10, read_meta, read_part10, text_of
from dicom_node.archive.receipt import seal
from dicom_node.archive.rejection_notes import KEY_OBJECTS, read_note
from dicom_node.archive.walk import Element, Run
from dicom_node.domain.grid import ImagePlane
from dicom_node.domain.study import Header
from dicom_node.errors import HeaderError, NotDicomError

UID_FORM = re.compile(r"[0-9.]{1,64}")  # leading zeros and the like are other people's habits, and do no harm here
_NUMBERS = {
    "US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
_ASCII = frozenset(("AE", "AS", "CS", "DA", "DT", "TM", "UI"))
_TEXT = frozenset(("LO", "PN", "SH", "UC"))  # in the character set, several values
_PARAGRAPHS = frozenset(("LT", "ST", "UT"))  # in the character set, one value, which may hold backslashes
_DELIMITERS = {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D}  # after which ISO 2022 starts anew: PS3.5 6.1.2.5.3

_STACKED = frozenset(("CT", "MR", "PT"))  # whose frames form volumes

_STUDY_UID, _SERIES_UID, _SOP_UID, _SOP_CLASS = 0x0020000D, 0x0020000E, 0x00080018, 0x00080016
_PIECE = 1 << 20
_REMEMBERED = 256  # bytes of a value; longer ones would fill the memory
_CHARACTER_SET, _PIXEL_REPRESENTATION = 0x00080005, 0x00280103


def read_header(path: Path) -> Header:
    """The record of one DICOM Part 10 file. Reads it once, however large, in little memory.

    Raises:
        NotDicomError: no Part 10 file, or one that was cut off.
        HeaderError: it lacks what identifies it.
        OSError: the file cannot be read.
    """
    return header_of(read_part10(path), path)


def header_of(stored: Part10, path: Path) -> Header:
    """The record of a file that was walked.

    Raises:
        HeaderError: it lacks what identifies it.
        OSError: a rejection note cannot be read.
    """
    attributes = attributes_of(stored.elements, little_endian=stored.little_endian, runs=stored.runs)
    receipt = _receipt(stored.meta, stored.modified)
    frames = attributes.get("NumberOfFrames")
    count = int(frames) if isinstance(frames, float) and 1 <= frames < 1 << 31 else int(stored.pixels)
    sop_class = str(attributes.get("SOPClassUID", "")) or text_of(stored.meta.get(0x0002, b""))
    return Header(
        sop_instance_uid=_uid(stored, _SOP_UID, path),
        sop_class_uid=sop_class,
        study_instance_uid=_uid(stored, _STUDY_UID, path),
        series_instance_uid=_uid(stored, _SERIES_UID, path),
        transfer_syntax_uid=stored.transfer_syntax,
        patient_id=_single(attributes, "PatientID"),
        issuer=_single(attributes, "IssuerOfPatientID"),
        modality=_single(attributes, "Modality"),
        attributes=attributes,
        planes=_planes(stored, attributes, count),
        frames=count,
        digest=stored.digest,
        pixel_digest=stored.image_digest,
        size=stored.size,
        peer=receipt["peer"],
        calling_ae=text_of(stored.meta.get(0x0017, b"")) or text_of(stored.meta.get(0x0016, b"")),
        called_ae=text_of(stored.meta.get(0x0018, b"")),
        association=receipt["association"],
        received_at=receipt["received"],
        note=read_note(path) if sop_class == KEY_OBJECTS else None,
    )


def with_digests(header: Header, path: Path) -> Header:
    """The record of a file that is read in full, if that was not done yet.

    Raises:
        DicomNodeError, OSError: it cannot be read any more.
    """
    return header if header.digest else read_header(path)


def identify(path: Path) -> tuple[str, str]:
    """Study and SOP Instance UID of an object that cannot be used, each empty where it could not be read."""
    elements = begin_part10(path)
    found = (text_of(elements[tag].value) if tag in elements else "" for tag in (_STUDY_UID, _SOP_UID))
    study_uid, sop_uid = (uid if UID_FORM.fullmatch(uid) else "" for uid in found)
    return study_uid, sop_uid


def seal_in(meta: Mapping[int, bytes]) -> str | None:
    """The seal in file meta information; None in that of a file that was stored in the portable way."""
    stated = _told(meta).get("seal")
    return None if stated is None else str(stated)


def check_seal(path: Path) -> None:
    """See that a file which was stored with a single flush is whole; others are, by the way they were stored.

    Raises:
        NotDicomError: the machine stopped before all of it was on the disk.
        OSError: the file cannot be read.
    """
    size = crc = 0
    with path.open("rb") as file:
        stated = seal_in(read_meta(file, path))
        if stated is None:
            return
        while piece := file.read(_PIECE):
            size += len(piece)
            crc = crc32(piece, crc)
    if stated != seal(size, crc).decode("ascii"):
        raise NotDicomError(
            f"{path}: the machine stopped before all of it was on the disk; it was never acknowledged",
            reason="torn",
            remedy="nothing is to be done: its sender had no answer, and sends it again",
        )


def _uid(stored: Part10, tag: int, path: Path) -> str:
    element = stored.elements.get(tag)
    value = text_of(element.value) if element else ""
    if not value:
        raise HeaderError(
            f"{path}: {name_of(tag)} is absent",
            reason="no-uid",
            remedy="the sender must write it; a DICOMDIR, for one, is no object of a study",
        )
    if UID_FORM.fullmatch(value) is None:
        raise HeaderError(
            f"{path}: {name_of(tag)} is no UID: {value[:80]!r}",
            reason="bad-uid",
            remedy="a UID has at most 64 digits and dots; correct it at the sender",
        )
    return value


def _receipt(meta: dict[int, bytes], modified: float) -> dict[str, Any]:
    """What :mod:`dicom_node.archive.receipt` wrote; of a file from elsewhere, its own time."""
    told = _told(meta)
    received = datetime.fromtimestamp(modified, tz=UTC)
    with contextlib.suppress(ValueError, TypeError):
        stated = datetime.fromisoformat(told.get("received", ""))
        received = stated.astimezone(UTC) if stated.tzinfo else received
    # A time to come, of a file from elsewhere, would keep its series from ever being quiet.
    received = min(received, datetime.now(UTC))
    return {"peer": str(told.get("peer", "")), "association": str(told.get("association", "")), "received": received}


def _told(meta: Mapping[int, bytes]) -> dict[str, Any]:
    with contextlib.suppress(ValueError):  # another program's private information
        parsed = json.loads(meta.get(0x0102, b"").rstrip(b"\0 ").decode("utf-8"))
        return parsed if isinstance(parsed, dict) else {}
    return {}


def attributes_of(elements: Mapping[int, Element], *, little_endian: bool, runs: Sequence[Run] = ()) -> dict[str, Any]:
    """Plain values by keyword, as in :class:`Header`, of elements by tag. ``runs``: where some of them come from."""
    encodings, signed = encodings_of(elements), is_signed(elements)
    order = "<" if little_endian else ">"
    found: dict[str, Any] = {}
    for run in runs:
        found |= _of_run(run, encodings, signed, order)
    read: set[int] = set().union(*(run.elements for run in runs))
    return found | _values([elements[tag] for tag in elements if tag not in read], encodings, signed, order)


def _values(elements: Iterable[Element], encodings: tuple[str, ...], signed: bool, order: str) -> dict[str, Any]:
    found = {}
    for element in elements:
        keyword = entry_of(element.tag).keyword
        if keyword:
            read = _remembered if len(element.value) <= _REMEMBERED else decoded
            value = read(element, encodings, signed, order)
            if value is not None:
                found[keyword] = value
    return found


@lru_cache(1024)
def _of_run(run: Run, encodings: tuple[str, ...], signed: bool, order: str) -> dict[str, Any]:
    return _values(run.elements.values(), encodings, signed, order)


def decoded(element: Element, encodings: tuple[str, ...], signed: bool, order: str) -> Any:
    """The value of an element, or None. One that is not what its VR promises is left out: rules see it as absent."""
    vr = _vr(element, entry_of(element.tag).vr, signed)
    with contextlib.suppress(ValueError, struct.error):
        return _convert(vr, element.value, list(encodings), order)
    return None


# The images of a series say nearly the same.
_remembered = lru_cache(4096)(decoded)


def encodings_of(elements: Mapping[int, Element]) -> tuple[str, ...]:
    """Python's names of the character sets that the elements are written in."""
    element = elements.get(_CHARACTER_SET)
    names = text_of(element.value).split("\\") if element else [""]
    # A NUL within a name is damage that Python's codec registry does not survive.
    return tuple(convert_encodings([name.replace("\0", "").strip() for name in names]))


def is_signed(elements: Mapping[int, Element]) -> bool:
    """Whether pixels, and what is US or SS like them, are signed."""
    sign = elements.get(_PIXEL_REPRESENTATION)
    return sign is not None and sign.value[:2] in (b"\0\1", b"\1\0")


def _vr(element: Element, dictionary_vr: str, signed: bool) -> str:
    vr = dictionary_vr if element.vr == "UN" else element.vr
    if vr == "US or SS":
        return "SS" if signed else "US"
    return vr


def _convert(vr: str, stored: bytes, encodings: list[str], order: str) -> Any:
    """A str, a float, a list of them, or None where there is no value."""
    if vr in _NUMBERS:
        size = struct.calcsize("=" + _NUMBERS[vr])
        values = struct.unpack(f"{order}{len(stored) // size}{_NUMBERS[vr]}", stored)
        return _one_or_list(_finite([float(value) for value in values]))
    if vr in ("DS", "IS"):
        texts = text_of(stored).split("\\")
        return None if texts == [""] else _one_or_list(_finite([float(text) for text in texts]))
    if vr in _ASCII:
        return _one_or_list([part.strip() for part in text_of(stored).replace("\0", "").split("\\")])
    if vr == "UR":
        return text_of(stored) or None
    if vr in _PARAGRAPHS:
        return decode_bytes(stored, encodings, _DELIMITERS).rstrip(" \0").replace("\0", "") or None
    if vr in _TEXT:
        # Decoded before it is split: in ISO 2022 and GB18030 a backslash may be half a letter.
        text = decode_bytes(stored.rstrip(b" \0"), encodings, _DELIMITERS).replace("\0", "")
        return _one_or_list([part.strip() for part in text.split("\\")])
    return None


def _finite(values: list[float]) -> list[float]:
    if not all(map(math.isfinite, values)):
        raise ValueError("not a number")
    return values


def _one_or_list(values: list[Any]) -> Any:
    if len(values) > 1:
        return values
    return values[0] if values and values[0] != "" else None


def _single(attributes: dict[str, Any], keyword: str) -> str:
    value = attributes.get(keyword, "")
    return str(value[0] if isinstance(value, list) else value)


def _planes(stored: Part10, attributes: dict[str, Any], frames: int) -> tuple[ImagePlane, ...]:
    if stored.groups and attributes.get("Modality") in _STACKED:
        return frame_planes(stored, attributes.get("Rows"), attributes.get("Columns"), frames)
    plane = _plane(attributes) if frames == 1 else None
    return (plane,) if plane else ()


def _plane(attributes: dict[str, Any]) -> ImagePlane | None:
    rows, columns = attributes.get("Rows"), attributes.get("Columns")
    lists = [attributes.get(key) for key in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")]
    if not isinstance(rows, float) or not isinstance(columns, float) or min(rows, columns) < 1:
        return None
    if any(not isinstance(part, list) for part in lists):
        return None
    spacing, orientation, position = (tuple(part) for part in lists if part)
    if (len(spacing), len(orientation), len(position)) != (2, 6, 3):
        return None
    return ImagePlane(int(rows), int(columns), spacing, orientation, position)
