"""Segments → one BINARY Segmentation object (PS3.3 A.51), on the grid and in the frame of reference of its source.

All segments of the findings stand in one object. A segment without a voxel is described and has no frame; readers show
it in their list and draw nothing. Where no segment has a voxel, every frame is written, empty: an image object
without a frame is no valid image, and leaving the object out would make "looked for, and not there" look like "not
run". The report says the absence in a code.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.uid import ComputedRadiographyImageStorage, CTImageStorage

from dicom_node.archive import modules
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Findings, Segment
from dicom_node.errors import ResultError
from workers.results import codes, provenance
from workers.results.records import ResultContext
from workers.results.source import Source, is_placed, objects

_STAND_IN = "2.25.1."  # root of names that no object ever keeps


def build(
    findings: Findings, contract: ModelContract, source: Source, context: ResultContext, time: datetime
) -> Dataset:
    """The Segmentation of ``findings``, whose slices are the images of ``source``.

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
    dataset: Any = hd.seg.Segmentation(
        source_images=_planes(source),
        pixel_array=_pixels(findings, numbers),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe(segment, contract) for segment in findings.segments],
        series_instance_uid=provenance.uid(context, "seg/series"),
        series_number=provenance.series_number(context, "seg"),
        sop_instance_uid=provenance.uid(context, "seg/instance"),
        instance_number=1,
        manufacturer=provenance.MANUFACTURER,
        manufacturer_model_name=provenance.MODEL_NAME,
        software_versions=context.software_version,
        device_serial_number=str(context.installation),
        pixel_measures=_pixel_measures(findings, source),
        omit_empty_frames=bool(findings.held()),
        content_label="SEGMENTATION",
        content_description=provenance.SHORT_DISCLAIMER,
        series_description=provenance.series_description(contract, "segmentation"),
    )
    dataset.update(source.series)
    dataset.BurnedInAnnotation = "NO"
    dataset.ContentCreatorName = None  # type 2; no person made it
    _refer(dataset, source)
    _pad_with_null(dataset)
    _fix_dimension_uid(dataset, provenance.uid(context, "seg/dimensions"))
    provenance.stamp(dataset, contract, source, context, time)
    return dataset  # type: ignore[no-any-return]


def _pixels(findings: Findings, numbers: list[int]) -> npt.NDArray[np.uint8]:
    """A label map (slice, row, column); where segments may overlap, a plane of each along a fourth axis."""
    if len(findings.layers) == 1:
        return findings.layers[0]
    return np.stack([findings.mask(number) for number in numbers], axis=-1).astype(np.uint8)


def stand_ins(source: Source) -> list[Dataset]:
    """The source objects, one each, as highdicom asks for them.

    It takes patient and study from the first one, and refuses values that stand in real images. So it is given none;
    ``provenance.stamp`` writes them afterwards.
    """
    first, *others = objects(source.images)
    return [_without_a_patient(first), *others]


def _without_a_patient(image: Dataset) -> Dataset:
    made = Dataset()
    made.update(image)
    for keyword in modules.TYPE_2:
        setattr(made, keyword, None)
    return made


def _is_plain(source: Source) -> bool:
    """Whether each slice is a single-frame image in the patient, of which highdicom makes the references itself."""
    return all(is_placed(image) and "ReferencedFrameNumber" not in image for image in source.images)


def _planes(source: Source) -> list[Dataset]:
    """A single-frame image for each slice; frames and projections get names of their own until :func:`_refer`."""
    first, *others = source.images
    planes = [_without_a_patient(first), *others]
    if _is_plain(source):
        return planes
    made = []
    for index, plane in enumerate(planes):
        image = Dataset()
        image.update(plane)
        # New elements: those of the source are shared between its frames.
        image.add_new("SOPClassUID", "UI", CTImageStorage if is_placed(plane) else ComputedRadiographyImageStorage)
        image.add_new("SOPInstanceUID", "UI", f"{_STAND_IN}{index}")
        if not is_placed(plane):
            image.pop("FrameOfReferenceUID", None)
        made.append(image)
    return made


def _refer(dataset: Dataset, source: Source) -> None:
    """Have each frame refer to the frame or projection it lies on, and the object list each of them once."""
    if _is_plain(source):
        return
    for group in dataset.PerFrameFunctionalGroupsSequence:
        for reference in group.DerivationImageSequence[0].SourceImageSequence:
            image = source.images[int(reference.ReferencedSOPInstanceUID.removeprefix(_STAND_IN))]
            reference.update(_reference(image))
            if "ReferencedFrameNumber" in image:
                reference.ReferencedFrameNumber = image.ReferencedFrameNumber
    listed = [_reference(image) for image in objects(source.images)]
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = listed
    if "SourceImageSequence" in dataset:
        dataset.SourceImageSequence = listed
    if not is_placed(source.images[0]):
        dataset.PatientOrientation = source.images[0].get("PatientOrientation")  # type 2C without a plane


def _reference(image: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference


def _pixel_measures(findings: Findings, source: Source) -> Any:
    """Spacing of the grid. Slice Thickness stays that of the images, which may overlap or leave gaps.

    None of a projection: the size of its pixels in the patient depends on how far away they are.
    """
    if not is_placed(source.images[0]):
        return None
    between_slices, between_rows, between_columns = findings.grid.spacing
    thickness = source.images[0].get("SliceThickness")
    spacing = source.images[0].PixelSpacing
    return hd.PixelMeasuresSequence(
        pixel_spacing=[float(spacing[0]) or between_rows, float(spacing[1]) or between_columns],
        slice_thickness=float(thickness) if thickness else between_slices,
        spacing_between_slices=between_slices,
    )


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


def _pad_with_null(dataset: Dataset) -> None:
    """Pixel Data of odd length is padded with a null byte (PS3.5 8.2); highdicom's pad is a character "0"."""
    used = (int(dataset.NumberOfFrames) * dataset.Rows * dataset.Columns + 7) // 8
    dataset.PixelData = dataset.PixelData[:used] + b"\0" * (used % 2)


def _fix_dimension_uid(dataset: Dataset, uid: str) -> None:
    """highdicom draws it at random."""
    items: ItemSequence = dataset.DimensionOrganizationSequence
    for item in (*items, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
