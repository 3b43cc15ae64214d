"""Segments → one Segmentation object (PS3.3 A.51), on the grid and in the frame of reference of its source.

All segments of the findings stand in one object. A segment without a voxel is described and has no frame; readers show
it in their list and draw nothing. Where no segment has a voxel, every frame is written, empty: an image object
without a frame is no valid image, and leaving the object out would make "looked for, and not there" look like "not
run". The report says the absence in a code.

What stands in each frame is encoded when the object is written. highdicom's Segmentation is the reference: the tests
compare every attribute, functional group and pixel with it. It is not used here since it holds every frame in memory
as an object several times over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, SegmentationStorage

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Findings, Segment
from dicom_node.errors import ResultError
from workers.results import codes, functional_groups, pixels, provenance
from workers.results.functional_groups import FrameOf
from workers.results.planes import MAXIMUM_FRACTIONAL_VALUE, Encoding, Masks, Planes
from workers.results.records import ResultContext
from workers.results.source import Source, is_placed, objects

LABEL_MAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")  # pydicom has no name for it yet

_PIXEL_DATA = BaseTag(0x7FE00010)
# What the frames are ordered by: the attribute, the functional group that holds it, and its name.
_BY_SEGMENT = (0x0062000B, 0x0062000A, "Referenced Segment Number")
_BY_POSITION = (0x00200032, 0x00209113, "Image Position Patient")
_BY_LABEL = (0x00209453, 0x00209111, "Frame Label")


def build(
    findings: Findings,
    contract: ModelContract,
    source: Source,
    context: ResultContext,
    time: datetime,
    planes: Planes | None = None,
) -> Dataset:
    """The Segmentation of ``findings``, whose slices are the images of ``source``.

    ``planes`` say how segments are encoded; without them, as BINARY. The arrays of the findings are read when the
    object is written.

    Raises:
        ResultError: the segments are not numbered 1, 2, … as the SOP class asks for (PS3.3 C.8.20.2.4).
    """
    numbers = [segment.number for segment in findings.segments]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ResultError(
            f"the segments of {contract.name} are numbered {numbers}",
            reason="segment-numbers",
            remedy="number the segments in model.toml from 1 on, in order and without gaps",
        )
    planes = planes or Masks(findings)
    frames = _frames(planes, placed=is_placed(source.images[0]))
    dataset = Dataset()
    _identify(dataset, planes.encoding, contract, context)
    _describe_image(dataset, planes, source, frames)
    dataset.SegmentSequence = [_describe(segment, contract) for segment in findings.segments]
    order(
        dataset,
        source,
        [frame.slice for frame in frames],
        provenance.uid(context, "seg/dimensions"),
        segments=planes.encoding is not Encoding.LABELMAP,
        single=len(planes.occupied) == 1,
    )
    refer(dataset, source)
    dataset.SharedFunctionalGroupsSequence = [_shared(findings, planes, source)]
    identify = len(planes.occupied) > 1
    dataset[0x52009230] = functional_groups.per_frame(frames, source.images, identify=identify)
    _put_pixels(dataset, planes, frames)
    dataset.update(source.series)
    provenance.stamp(dataset, contract, source, context, time)
    return dataset


def _frames(planes: Planes, *, placed: bool) -> list[FrameOf]:
    """The frames in order: by segment, then against the direction of the slices, as highdicom has it.

    Slices without a voxel are left out and not counted; all are there where none has one.
    """
    occupied = planes.occupied
    if not occupied.any():
        occupied = np.ones_like(occupied)
    slices = np.flatnonzero(occupied.any(axis=0))[::-1].tolist()
    label_map = planes.encoding is Encoding.LABELMAP
    made = []
    for segment, held in enumerate(occupied, start=1):
        for rank, index in enumerate(slices, start=1):
            if held[index]:
                dimensions = (*(() if label_map else (segment,)), *((rank,) if placed else ()))
                made.append(FrameOf(0 if label_map else segment, index, dimensions or (1,)))
    return made


def _identify(dataset: Dataset, encoding: Encoding, contract: ModelContract, context: ResultContext) -> None:
    """Which object this is, and its series."""
    label_map = encoding is Encoding.LABELMAP
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = RLELossless if label_map else ExplicitVRLittleEndian
    dataset.SOPClassUID = LABEL_MAP_SEGMENTATION_STORAGE if label_map else SegmentationStorage
    dataset.SOPInstanceUID = provenance.uid(context, "seg/instance")
    dataset.SeriesInstanceUID = provenance.uid(context, "seg/series")
    dataset.SeriesNumber = provenance.series_number(context, "seg")
    dataset.SeriesDescription = provenance.series_description(contract, "segmentation")
    dataset.InstanceNumber = 1
    dataset.Modality = "SEG"
    dataset.ContentLabel = "SEGMENTATION"
    dataset.ContentDescription = provenance.SHORT_DISCLAIMER
    dataset.ContentCreatorName = None  # type 2; no person made it


def _describe_image(dataset: Dataset, planes: Planes, source: Source, frames: Sequence[FrameOf]) -> None:
    """General Image, Image Pixel and Segmentation Image modules."""
    first = source.images[0]
    bits = 1 if planes.encoding is Encoding.BINARY else 8
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.BurnedInAnnotation = "NO"
    tell_of_loss(dataset, first)
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = first.Rows, first.Columns
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits, bits - 1, 0
    dataset.SegmentationType = planes.encoding.value
    dataset.SegmentsOverlap = planes.overlap
    if planes.encoding is Encoding.FRACTIONAL:
        dataset.SegmentationFractionalType = "PROBABILITY"
        dataset.MaximumFractionalValue = MAXIMUM_FRACTIONAL_VALUE
    if planes.encoding is Encoding.LABELMAP:
        dataset.add_new("PixelPaddingValue", "US", 0)


def tell_of_loss(dataset: Dataset, image: Dataset) -> None:
    """Whether the images that an object was derived from had been compressed with loss."""
    dataset.LossyImageCompression = image.get("LossyImageCompression", "00")
    if dataset.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in image:
                setattr(dataset, keyword, image[keyword].value)


def order(
    dataset: Dataset, source: Source, slices: Sequence[int], uid: str, *, segments: bool = False, single: bool = True
) -> None:
    """Multi-frame Dimension module: what the frames are ordered by; ``single``: there is one for each of ``slices``."""
    placed = is_placed(source.images[0])
    by = [*([_BY_SEGMENT] if segments else []), *([_BY_POSITION] if placed else [])]
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    dataset.DimensionOrganizationSequence = [organization]
    dataset.DimensionIndexSequence = [_dimension(uid, *index) for index in by or [_BY_LABEL]]
    ascending = [source.images[index] for index in sorted(set(slices))]
    if placed and single and len(ascending) > 1 and _spacing(ascending, sort=False):
        dataset.DimensionOrganizationType = "3D"


def _dimension(uid: str, pointer: int, group: int, label: str) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = uid
    item.DimensionIndexPointer = pointer
    item.FunctionalGroupPointer = group
    item.DimensionDescriptionLabel = label
    return item


def _spacing(images: Sequence[Dataset], *, sort: bool) -> float | None:
    """Distance of slices in mm; None where they are not all equally far apart."""
    positions = np.array([image.ImagePositionPatient for image in images], dtype=np.float64)
    found, _ = hd.spatial.get_volume_positions(positions, images[0].ImageOrientationPatient, sort=sort)
    return float(found) if found else None


def refer(dataset: Dataset, source: Source) -> None:
    """Have the object list each object it was made of once, and lie in their frame of reference."""
    first = source.images[0]
    listed = objects(source.images)
    dataset[0x00081115] = functional_groups.referenced_series(source.series_instance_uid, listed)
    dataset[0x00082112] = functional_groups.references(0x00082112, listed)
    if is_placed(first):
        dataset.FrameOfReferenceUID = first.FrameOfReferenceUID
        dataset.PositionReferenceIndicator = None
    else:
        dataset.PatientOrientation = first.get("PatientOrientation")  # type 2C without a plane


def _shared(findings: Findings, planes: Planes, source: Source) -> Dataset:
    """What holds for every frame."""
    group = geometry(findings, source)
    if len(planes.occupied) == 1 and planes.encoding is not Encoding.LABELMAP:
        identification = Dataset()
        identification.ReferencedSegmentNumber = 1
        group.SegmentIdentificationSequence = [identification]
    return group


def geometry(findings: Findings, source: Source) -> Dataset:
    """Orientation and pixel measures of every frame; of a projection its pixels' size where its images tell it."""
    first = source.images[0]
    group = Dataset()
    if is_placed(first):
        group.PlaneOrientationSequence = hd.PlaneOrientationSequence("PATIENT", first.ImageOrientationPatient)
    if "PixelSpacing" in first:
        # Slice Thickness stays that of the images, which may overlap or leave gaps.
        thickness = first.get("SliceThickness")
        if is_placed(first) and not thickness:
            thickness = findings.grid.spacing[0]
        group.PixelMeasuresSequence = hd.PixelMeasuresSequence(first.PixelSpacing, thickness)
        spacing = _spacing(source.images, sort=True) if is_placed(first) else None
        if spacing is not None:
            group.PixelMeasuresSequence[0].SpacingBetweenSlices = functional_groups.decimal(spacing)
    return group


def _put_pixels(dataset: Dataset, planes: Planes, frames: Sequence[FrameOf]) -> None:
    """Pixel Data: a stream that makes frame after frame, or encapsulated frames."""
    shape = int(dataset.Rows), int(dataset.Columns)

    def made() -> Any:
        return (planes.plane(frame.segment, frame.slice) for frame in frames)

    if planes.encoding is Encoding.LABELMAP:
        encapsulated = pixels.run_length(made(), shape)
        dataset[_PIXEL_DATA] = DataElement(_PIXEL_DATA, "OB", encapsulated, is_undefined_length=True)
    else:
        stream = pixels.native(made, len(frames), shape[0] * shape[1], int(dataset.BitsAllocated))
        dataset[_PIXEL_DATA] = DataElement(_PIXEL_DATA, "OB", stream)


def _describe(segment: Segment, contract: ModelContract) -> Any:
    description = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=provenance.cut(segment.label, provenance.LONG_STRING),
        segmented_property_category=codes.coded(segment.category),
        segmented_property_type=codes.coded(segment.type),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=provenance.cut(contract.name, provenance.LONG_STRING),
            version=provenance.cut(contract.version, provenance.LONG_STRING),
            family=codes.coded(provenance.algorithm_family(contract)),
            source=provenance.cut(contract.manufacturer, provenance.LONG_STRING),
        ),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        display_color=hd.color.CIELabColor.from_rgb(*segment.color),
    )
    if segment.type_modifier is not None:
        property_type = description.SegmentedPropertyTypeCodeSequence[0]
        property_type.SegmentedPropertyTypeModifierCodeSequence = [codes.coded(segment.type_modifier)]
    if segment.description:
        description.SegmentDescription = provenance.cut(segment.description, provenance.SHORT_TEXT)
    return description
