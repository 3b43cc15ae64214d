"""Frames: single images, or those of a multi-frame object with their functional groups laid open.

A frame has one flat header, whatever object it came in. For a frame of a multi-frame object (PS3.3 C.7.6.16) the
attributes of its functional groups, shared and its own, stand at the top level beside those of the object, and
Referenced Frame Number (0008,1160) tells which frame it is. So the rest of the program knows one kind of header.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import DataElement

from dicom_node.domain.grid import ImagePlane
from dicom_node.errors import GeometryError, HeaderError
from workers.inference.image_file import RESEND, UNREADABLE, ImageFile

# Of an object as a whole; a functional group never speaks for it.
_OF_THE_OBJECT = frozenset((
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID",
    "Rows", "Columns", "Modality", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "SamplesPerPixel", "PhotometricInterpretation", "SpecificCharacterSet",
))  # fmt: skip
# Groups that tell of other images.
_OF_OTHERS = frozenset((
    "ReferencedImageSequence", "DerivationImageSequence", "ConversionSourceAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
))  # fmt: skip
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
# What a functional group calls otherwise than a single-frame image does.
_CLASSIC_NAMES = {"FrameType": "ImageType", "EffectiveEchoTime": "EchoTime"}
_COMPONENTS = {"M": "MAGNITUDE", "P": "PHASE", "R": "REAL", "I": "IMAGINARY"}
# b-values as vendors wrote them before the standard had an attribute: group, private creator, element, modulus.
_B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C, None),
    (0x0043, "GEMS_PARM_01", 0x39, 1_000_000_000),
    (0x2001, "Philips Imaging DD 001", 0x03, None),
)


class Frame:
    """One image plane of a series, with its header."""

    def __init__(self, file: ImageFile, index: int, header: Dataset) -> None:
        self.file = file
        self.index = index  # within the file, base 0
        self.header = header

    def __str__(self) -> str:
        number = self.header.get("ReferencedFrameNumber")
        return f"frame {number} of {self.file}" if number else str(self.file)

    def text(self, keyword: str) -> str:
        """An attribute's value as text; empty when absent."""
        return str(self.header.get(keyword) or "")

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of an attribute as text."""
        value = self.header.get(keyword)
        if value is None or value == "":
            return ()
        many = isinstance(value, Sequence) and not isinstance(value, str)
        return tuple(str(part) for part in (value if many else (value,)))

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """The ``count`` numbers of an attribute; None when it is absent or empty.

        Raises:
            HeaderError: ``bad-value``: it holds something else.
        """
        try:
            value = self.header.get(keyword)
            if value is None or value == "":
                return None
            many = isinstance(value, Sequence) and not isinstance(value, str)
            numbers = tuple(float(v) for v in (value if many else [value]))
        except (TypeError, ValueError) as error:
            raise HeaderError(f"{keyword} of {self} is not a number: {error}", reason="bad-value") from error
        if not numbers:
            return None
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise HeaderError(f"{keyword} of {self} is {value}, not {count} number(s)", reason="bad-value")
        return numbers

    def number(self, keyword: str) -> float | None:
        """The one number of an attribute; None when it is absent or empty."""
        numbers = self.numbers(keyword, 1)
        return numbers[0] if numbers else None

    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.number("Rows"), self.number("Columns")
        if not rows or not columns:
            raise GeometryError(f"{self} has no Rows or Columns", reason="not-an-image", remedy=RESEND)
        return int(rows), int(columns)

    def plane(self) -> ImagePlane:
        """Where the image lies in the patient.

        Raises:
            GeometryError: ``no-geometry``.
        """
        spacing = self.numbers("PixelSpacing", 2)
        orientation = self.numbers("ImageOrientationPatient", 6)
        position = self.numbers("ImagePositionPatient", 3)
        if not (spacing and orientation and position):
            named = {"Pixel Spacing": spacing, "Image Orientation": orientation, "Image Position": position}
            absent = ", ".join(name for name, value in named.items() if not value)
            many = "" if self.file.frames == 1 else f", one of {self.file.frames} frames without geometry of their own,"
            raise GeometryError(
                f"{self}{many} has no {absent}: it has no place in the patient",
                reason="no-geometry",
                remedy="send the original images; secondary captures and screenshots cannot form a volume",
            )
        rows, columns = self.size()
        return ImagePlane(
            rows=rows,
            columns=columns,
            pixel_spacing=(spacing[0], spacing[1]),
            orientation=orientation,  # type: ignore[arg-type]
            position=(position[0], position[1], position[2]),
        )


def frames_of(file: ImageFile) -> list[Frame]:
    """The frames of a file, in its order.

    Raises:
        HeaderError: ``bad-value``: its functional groups are damaged, or fewer than its frames.
    """
    try:
        if _PER_FRAME not in file.header:
            return _without_groups(file)
        groups = list(file.header[_PER_FRAME].value or ())
        shared = list(file.header.get(_SHARED) or ())
        common = _common(file.header)
        for group in shared[:1]:
            _lay_open(group, common)
        number = file.frames if "NumberOfFrames" in file.header else len(groups)
        headers = [_of_frame(common, group, index) for index, group in enumerate(groups[:number])]
    except UNREADABLE as error:
        raise HeaderError(f"{file} cannot be read: {error}", reason="bad-value", remedy=RESEND) from error
    if len(groups) != number:
        raise HeaderError(
            f"{file} has {number} frames, but {len(groups)} items in Per-Frame Functional Groups Sequence",
            reason="bad-value",
            remedy=RESEND,
        )
    return [Frame(file, index, _completed(header)) for index, header in enumerate(headers)]


def _without_groups(file: ImageFile) -> list[Frame]:
    """A single image; or frames that all have the one header of their object."""
    if file.frames == 1:
        return [Frame(file, 0, _completed(file.header))]
    made = []
    for index in range(file.frames):
        header = _copy(file.header.values())
        # One position cannot be that of every frame.
        header.pop("ImagePositionPatient", None)
        header.add_new("ReferencedFrameNumber", "IS", index + 1)
        made.append(Frame(file, index, header))
    return made


def _common(header: Dataset) -> Dataset:
    # Iterating converts each value once, with the character set of its object.
    common = _copy(element for element in header if element.keyword not in (_SHARED, _PER_FRAME))
    common.file_meta = header.file_meta
    agents = common.get("ContrastBolusAgentSequence")
    if agents and "ContrastBolusAgent" not in common:
        common.ContrastBolusAgent = str(agents[0].get("CodeMeaning") or "contrast agent")
    return common


def _copy(elements: Iterable[Any]) -> Dataset:
    return Dataset({element.tag: element for element in elements})


def _of_frame(common: Dataset, group: Dataset, index: int) -> Dataset:
    header = _copy(common.values())
    header.file_meta = common.file_meta
    _lay_open(group, header)
    header.add_new("ReferencedFrameNumber", "IS", index + 1)
    return header


def _lay_open(group: Dataset, header: Dataset) -> None:
    """Put the attributes of one item of functional groups at the top level of ``header``."""
    for macro in group:
        if macro.VR != "SQ" or macro.tag.is_private or macro.keyword in _OF_OTHERS or len(macro.value or ()) != 1:
            continue
        for element in macro.value[0]:
            if element.tag.is_private or element.keyword in _OF_THE_OBJECT:
                continue
            header.add(element)
            if element.keyword in _CLASSIC_NAMES:
                classic = _CLASSIC_NAMES[element.keyword]
                header.add_new(classic, "CS" if classic == "ImageType" else "DS", element.value)
            elif element.VR == "SQ" and element.keyword == "MRDiffusionGradientDirectionSequence":
                _lay_open(_item(element), header)


def _item(element: DataElement) -> Dataset:
    item = Dataset()
    item.add(element)
    return item


def _completed(header: Dataset) -> Dataset:
    """With what vendors say elsewhere than the standard does: b-value and complex component of MR images."""
    if header.get("Modality") != "MR":
        return header
    if "DiffusionBValue" not in header:
        value = _vendor_b_value(header)
        if value is not None:
            header.DiffusionBValue = value
    if "ComplexImageComponent" not in header:
        image_type = header.get("ImageType") or ()
        parts = [] if isinstance(image_type, str) else [str(part) for part in image_type[2:]]
        component = next((_COMPONENTS[part] for part in parts if part in _COMPONENTS), None)
        if component:
            header.ComplexImageComponent = component
    return header


def _vendor_b_value(header: Dataset) -> float | None:
    for group, creator, element, modulus in _B_VALUES:
        try:
            value = header.private_block(group, creator)[element].value
            number = float(value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value)
        except (KeyError, IndexError, TypeError, ValueError):
            continue
        if np.isfinite(number) and number >= 0:
            return number % modulus if modulus else number
    return None
