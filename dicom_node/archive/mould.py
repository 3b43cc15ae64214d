"""Most images of a series say, but for a dozen elements, byte by byte what the image before has said.

From two of them a mould is cast: the bytes that are the same in both, and the elements between them that differ. A
file fits if each constant piece stands where it is expected, up to the first byte of its pixels, and the file ends with
their last. Then it holds the same elements, and only those that are asked for are decoded. A file that does not fit is
read as if nothing had come before, so that the outcome is the same either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from dicom_node.archive.dictionary import entry_of
from dicom_node.archive.header import UID_FORM, decoded, encodings_of, is_signed
from dicom_node.archive.part10 import MetaSpan, Part10, meta_spans, text_of
from dicom_node.archive.receipt import SEAL_LENGTH, TIME_LENGTH, places_in
from dicom_node.archive.walk import LONG_VRS, Element
from dicom_node.domain.grid import ImagePlane
from dicom_node.domain.study import Header

LONGEST_BEGINNING = 16384  # bytes of a file up to its pixels
_MAGIC = 128  # where "DICM" stands
_SLACK = 512  # bytes that what differs may be longer than in the image a mould was cast from
_PIXELS_IMPLICIT = b"\xe0\x7f\x10\0"
_PIXELS_EXPLICIT = (_PIXELS_IMPLICIT + b"OW\0\0", _PIXELS_IMPLICIT + b"OB\0\0")
_SOP_UID, _POSITION = 0x00080018, 0x00200032
# What decides on the rest of a header; where one of these differs the images are not read alike.
_DECISIVE = frozenset(
    [
        0x00080005, 0x00080016, 0x00080060, 0x00100020, 0x00100021, 0x0020000D, 0x0020000E, 0x00200037, 0x00280008,
        0x00280010, 0x00280011, 0x00280030, 0x00280103,
    ]
)  # fmt: skip
_IMPLICIT = "1.2.840.10008.1.2"
# Names of what differs in the file meta information; anything else there is the same.
_RECEIVED, _SEALED, _META_LENGTH, _META_UID = -1, -2, -3, -4


class _Gap(NamedTuple):
    """Something that differs, and where it stands in the file a mould was cast from."""

    name: int  # its tag, or one of the names above
    at: int  # of its length, or of itself where its length is always the same
    width: int  # bytes of its length; 0: it always has ``length``
    length: int  # bytes

    @property
    def end(self) -> int:
        """Behind it."""
        return self.at + self.width + self.length


class Shared:
    """What the images of one mould have in common."""

    def __init__(self, attributes: Mapping[str, Any], own: Mapping[str, int], image: Part10) -> None:
        """``own``: keyword of what differs -> its tag."""
        self.attributes = attributes
        self.own = own
        self.agreed: object = None  # what was seen to be agreed on by all images of this mould
        self._encodings = encodings_of(image.elements)
        self._signed = is_signed(image.elements)
        self._vrs = {tag: image.elements[tag].vr for tag in own.values()}

    def decode(self, tag: int, value: bytes) -> Any:
        """The value of one of the elements that differ; None where it has none that can be read."""
        return decoded(Element(tag, self._vrs[tag], value), self._encodings, self._signed, "<")


class Alike(Mapping[str, Any]):
    """The attributes of an image: those it shares, and its own, which are decoded when they are asked for."""

    __slots__ = ("_values", "shared")

    def __init__(self, shared: Shared, values: Mapping[int, bytes]) -> None:
        """``values``: of what differs, by tag."""
        self.shared = shared
        self._values = values

    def __getitem__(self, keyword: str) -> Any:
        shared = self.shared
        if keyword in shared.attributes:
            return shared.attributes[keyword]
        tag = shared.own[keyword]
        value = shared.decode(tag, self._values[tag])
        if value is None:
            raise KeyError(keyword)
        return value

    def __iter__(self) -> Iterator[str]:
        yield from self.shared.attributes
        yield from (keyword for keyword in self.shared.own if keyword in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


@dataclass(frozen=True, slots=True)
class Mould:
    """How the images of one series that come over one association are written."""

    room: int  # bytes to be read of a file
    _steps: tuple[tuple[bytes, int, int, int], ...]  # constant bytes; then what differs: width, length, name
    _rest: bytes  # constant bytes up to the pixels
    _pixels: int  # bytes of them
    _header: Header  # of the image it was cast from
    _shared: Shared

    @property
    def whose(self) -> tuple[str, str, str]:
        """Which images it is for: of what association, series and transfer syntax."""
        header = self._header
        return header.association, header.series_instance_uid, header.transfer_syntax_uid

    def read(self, beginning: bytes, size: int) -> Header | None:
        """The record of a file of ``size`` bytes with that beginning; None where it does not fit."""
        at = _MAGIC
        values: dict[int, bytes] = {}
        for constant, width, length, name in self._steps:
            if not beginning.startswith(constant, at):
                return None
            at += len(constant)
            if width:
                length = int.from_bytes(beginning[at : at + width], "little")
                at += width
            values[name] = beginning[at : at + length]
            at += length
        if not beginning.startswith(self._rest, at) or at + len(self._rest) + self._pixels != size:
            return None
        return self._filled(values, size)

    def _filled(self, values: Mapping[int, bytes], size: int) -> Header | None:
        uid, received = text_of(values[_SOP_UID]), _time(values[_RECEIVED])
        if received is None or UID_FORM.fullmatch(uid) is None or not _plain(values.get(_SEALED, b"0")):
            return None
        header, planes = self._header, self._header.planes
        if planes and _POSITION in values:
            position = self._shared.decode(_POSITION, values[_POSITION])
            if not isinstance(position, list) or len(position) != 3:
                return None
            lies = planes[0]
            x, y, z = position
            planes = (ImagePlane(lies.rows, lies.columns, lies.pixel_spacing, lies.orientation, (x, y, z)),)
        return Header(
            uid,
            header.sop_class_uid,
            header.study_instance_uid,
            header.series_instance_uid,
            header.transfer_syntax_uid,
            header.patient_id,
            header.issuer,
            header.modality,
            Alike(self._shared, values),
            planes,
            header.frames,
            "",
            "",
            size,
            header.peer,
            header.calling_ae,
            header.called_ae,
            header.association,
            received,
        )


def cast(beginning: bytes, image: Part10, header: Header, varying: Set[int]) -> Mould | None:
    """A mould of a file that was read without expecting anything; ``varying``: tags that differ in its series.

    None where a mould could not tell how the images of the series are read.
    """
    meta = meta_spans(beginning)
    tags = {span.tag for span in image.spans}
    if meta is None or not _ends_with_pixels(image, header) or varying & _DECISIVE:
        return None
    start = meta[-1].end
    gaps = [*_gaps_of_meta(beginning, meta), *_gaps_of(beginning, image, varying, start)]
    names = {gap.name for gap in gaps}
    if not {_RECEIVED, _SOP_UID, *(varying & tags)} <= names:
        return None
    if _POSITION in names and not header.planes and header.frames == 1:
        return None  # with another position it might have a plane
    end = start + image.spans[-1].end + (8 if image.implicit else 12)
    pixels = int.from_bytes(beginning[end - 4 : end], "little")
    if end > LONGEST_BEGINNING or end + pixels != image.size:
        return None
    own = {entry_of(tag).keyword: tag for tag in varying & tags}
    own.pop("", None)  # private ones
    shared = {keyword: value for keyword, value in header.attributes.items() if keyword not in own}
    steps = tuple(_steps(beginning, gaps))
    rest = beginning[gaps[-1].end : end]
    room = min(end + _SLACK, LONGEST_BEGINNING)
    return Mould(room, steps, rest, pixels, header, Shared(shared, own, image))


def _ends_with_pixels(image: Part10, header: Header) -> bool:
    """Whether the image is elements, each once, and then pixels that are not encapsulated."""
    spans, piece = image.spans, image.beginning
    if not (spans and image.pixels and image.little_endian) or image.groups or header.note is not None:
        return False
    if image.implicit != (image.transfer_syntax == _IMPLICIT) or len({span.tag for span in spans}) < len(spans):
        return False
    ends = [0, *(span.end for span in spans)]
    if any(span.start != end or span.tag >> 16 == 0xFFFE for span, end in zip(spans, ends, strict=False)):
        return False
    forms = (_PIXELS_IMPLICIT,) if image.implicit else _PIXELS_EXPLICIT
    return piece.startswith(forms, ends[-1])


def _gaps_of_meta(beginning: bytes, meta: list[MetaSpan]) -> Iterator[_Gap]:
    for span in meta:
        if span.number == 0x0000:
            yield _Gap(_META_LENGTH, span.value, 0, span.end - span.value)
        elif span.number == 0x0003:
            yield _Gap(_META_UID, span.value - 2, 2, span.end - span.value)
        elif span.number == 0x0102:
            time, seal = places_in(beginning[span.value : span.end])
            if time >= 0:
                yield _Gap(_RECEIVED, span.value + time, 0, TIME_LENGTH)
            if seal >= 0:
                yield _Gap(_SEALED, span.value + seal, 0, SEAL_LENGTH)


def _gaps_of(beginning: bytes, image: Part10, varying: Set[int], start: int) -> Iterator[_Gap]:
    """Those of the data set, which begins at ``start``; none of a sequence of undefined length."""
    for span in image.spans:
        if span.tag not in varying:
            continue
        at, width = start + span.start + 4, 4
        if not image.implicit:
            at, width = (at + 4, 4) if beginning[at : at + 2] in LONG_VRS else (at + 2, 2)
        length = int.from_bytes(beginning[at : at + width], "little")
        if at + width + length == start + span.end and span.tag in image.elements:
            yield _Gap(span.tag, at, width, length)


def _steps(beginning: bytes, gaps: list[_Gap]) -> Iterator[tuple[bytes, int, int, int]]:
    at = _MAGIC
    for gap in gaps:
        yield beginning[at : gap.at], gap.width, gap.length, gap.name
        at = gap.end


def _time(value: bytes) -> datetime | None:
    """When an object was received, as its receipt says; None where that must be looked at closely."""
    try:
        told = datetime.fromisoformat(value.decode("ascii"))
    except ValueError:
        return None
    if told.tzinfo is None or value[10:11] != b"T":
        return None
    return min(told.astimezone(UTC), datetime.now(UTC))


def _plain(seal: bytes) -> bool:
    """Whether a seal is nothing but letters, digits and dashes, so that what is around it is read as always."""
    return seal.replace(b"-", b"").isalnum()
