"""What instances agree on, and how two objects of one SOP Instance UID relate. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydicom.uid import UID

from dicom_node.archive.mould import Alike
from dicom_node.domain.study import Header

# What the image is and where it lies; the rest describes it, the patient or the order.
_IMAGE = frozenset(
    [
        "SOPClassUID",
        "Rows",
        "Columns",
        "NumberOfFrames",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
        "FrameOfReferenceUID",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "ImagerPixelSpacing",
        "NominalScannedPixelSpacing",
        "SliceThickness",
        "SpacingBetweenSlices",
    ]
)
# What a compressor changes along with the transfer syntax (PS3.5 8.2, PS3.3 C.7.6.1.1.5).
_COMPRESSION = frozenset(
    [
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
        "DerivationDescription",
    ]
)
# The keywords of patient and study among those of an instance (PS3.3 C.7.1.1, C.7.1.3, C.7.2.1, C.7.2.2).
_OF_STUDY = frozenset(
    [
        "PatientID",
        "IssuerOfPatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientBirthTime",
        "PatientSex",
        "OtherPatientIDs",
        "EthnicGroup",
        "PatientComments",
        "PatientSpeciesDescription",
        "PatientIdentityRemoved",
        "DeidentificationMethod",
        "LongitudinalTemporalInformationModified",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "StudyDescription",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PhysiciansOfRecord",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "TimezoneOffsetFromUTC",
    ]
)


class Relation(StrEnum):
    """What an object is to the current one of the same SOP Instance UID."""

    DUPLICATE = "duplicate"
    OTHER_SYNTAX = "other transfer syntax"  # the same image, compressed otherwise
    REVISION = "revision"  # the same image, described otherwise
    CONFLICT = "conflict"  # another image


@dataclass(frozen=True, slots=True)
class Agreement:
    """What several instances say alike. An attribute that some of them lack varies."""

    attributes: Mapping[str, Any] = field(default_factory=dict)
    varying: frozenset[str] = frozenset()

    def joined_by(self, attributes: Mapping[str, Any]) -> Agreement:
        """With one more instance; there must be one already. The order of joining does not matter."""
        alike = attributes.shared if isinstance(attributes, Alike) else None
        if alike is not None and alike.agreed is self:
            return self
        shared = {
            key: value for key, value in self.attributes.items() if key in attributes and attributes[key] == value
        }
        if len(shared) == len(self.attributes) and attributes.keys() <= shared.keys() | self.varying:
            if alike is not None and alike.own.keys() <= self.varying:
                alike.agreed = self  # whatever the next one says of what differs, the outcome is the same
            return self
        return Agreement(shared, frozenset((self.varying | self.attributes.keys() | attributes.keys()) - shared.keys()))


def agree(instances: Iterable[Mapping[str, Any]]) -> Agreement:
    """What all of the instances' attributes agree on."""
    result: Agreement | None = None
    for attributes in instances:
        result = Agreement(dict(attributes)) if result is None else result.joined_by(attributes)
    return result or Agreement()


def study_attributes(series: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Attributes of patient and study on which those of the series that have them agree."""
    found: dict[str, Any] = {}
    differing = set()
    for attributes in series:
        for key in _OF_STUDY & attributes.keys():
            if found.setdefault(key, attributes[key]) != attributes[key]:
                differing.add(key)
    return {key: found[key] for key in sorted(found.keys() - differing)}


def relate(current: Header, new: Header) -> tuple[Relation, str]:
    """How ``new`` relates to ``current``, and why in words.

    Pixels are compared as stored. Between transfer syntaxes that cannot be done without decoding: a lossless copy
    counts as the same image, as PS3.5 demands of one that keeps its SOP Instance UID.
    """
    if current.digest == new.digest:
        return Relation.DUPLICATE, "the same object again"
    changed = {
        key
        for key in current.attributes.keys() | new.attributes.keys()
        if current.attributes.get(key) != new.attributes.get(key)
    }
    recoded = current.transfer_syntax_uid != new.transfer_syntax_uid
    if recoded:
        changed -= _COMPRESSION
    if changed & _IMAGE:
        return Relation.CONFLICT, f"{_listed(changed & _IMAGE)} differ"
    if current.pixel_digest != new.pixel_digest and not recoded:
        return Relation.CONFLICT, "the pixels differ"
    if recoded and not changed:
        return Relation.OTHER_SYNTAX, f"the same image in {_syntax(new)} instead of {_syntax(current)}"
    if recoded and _lossy(new) and not _lossy(current):
        return Relation.CONFLICT, f"{_listed(changed)} differ and the pixels are lossily compressed"
    return Relation.REVISION, f"{_listed(changed)} differ" if changed else "sequences or private attributes differ"


def described_alike(one: Header, other: Header) -> bool:
    """Whether two objects say the same of the same pixels, as far as the index knows them."""
    recoded = one.transfer_syntax_uid != other.transfer_syntax_uid
    kept = {key for key in one.attributes.keys() | other.attributes.keys() if not (recoded and key in _COMPRESSION)}
    alike = all(one.attributes.get(key) == other.attributes.get(key) for key in kept)
    return alike and (recoded or one.pixel_digest == other.pixel_digest)


def _lossy(header: Header) -> bool:
    return header.attributes.get("LossyImageCompression") == "01"


def _syntax(header: Header) -> str:
    return UID(header.transfer_syntax_uid).name


def _listed(keywords: Iterable[str]) -> str:
    names = sorted(keywords)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
