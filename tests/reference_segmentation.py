"""The Segmentation as highdicom makes it of the same findings: what our writer is compared with, to the byte."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, CTImageStorage, ExplicitVRLittleEndian, RLELossless

from dicom_node.archive import modules
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Findings
from workers.results import provenance
from workers.results.planes import Encoding
from workers.results.records import ResultContext
from workers.results.segmentation import _describe
from workers.results.source import Source, is_placed, objects

_STAND_IN = "2.25.1."  # root of names that no object ever keeps


def build(
    findings: Findings,
    contract: ModelContract,
    source: Source,
    context: ResultContext,
    time: datetime,
    encoding: Encoding = Encoding.BINARY,
    probabilities: npt.NDArray[Any] | None = None,
) -> Dataset:
    """``probabilities``: axes (segment, slice, row, column)."""
    label_map = encoding is Encoding.LABELMAP
    made = hd.seg.Segmentation(
        source_images=_images(source),
        pixel_array=_pixels(findings) if probabilities is None else np.moveaxis(probabilities, 0, -1),
        segmentation_type=encoding.value,
        segment_descriptions=[_describe(segment, contract) for segment in findings.segments],
        series_instance_uid=provenance.uid(context, "seg/series"),
        series_number=provenance.series_number(context, "seg"),
        sop_instance_uid=provenance.uid(context, "seg/instance"),
        instance_number=1,
        manufacturer=provenance.MANUFACTURER,
        manufacturer_model_name=provenance.MODEL_NAME,
        software_versions=context.software_version,
        device_serial_number=str(context.installation),
        transfer_syntax_uid=RLELossless if label_map else ExplicitVRLittleEndian,
        omit_empty_frames=bool(findings.held() if probabilities is None else probabilities.any()),
        content_label="SEGMENTATION",
        content_description=provenance.SHORT_DISCLAIMER,
        series_description=provenance.series_description(contract, "segmentation"),
    )
    dataset: Any = Dataset()
    dataset.update(made)
    dataset.file_meta = made.file_meta
    dataset.update(source.series)
    dataset.BurnedInAnnotation = "NO"
    dataset.ContentCreatorName = None
    if label_map:
        dataset.SegmentSequence = dataset.SegmentSequence[1:]  # without the background
    _refer(dataset, source)
    _pad_with_null(dataset)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = provenance.uid(context, "seg/dimensions")
    provenance.stamp(dataset, contract, source, context, time)
    return dataset  # type: ignore[no-any-return]


def _pixels(findings: Findings) -> npt.NDArray[np.uint8]:
    """A label map (slice, row, column); where segments may overlap, a plane of each along a fourth axis."""
    if len(findings.layers) == 1:
        return findings.layers[0]
    return np.stack([findings.mask(segment.number) for segment in findings.segments], axis=-1).astype(np.uint8)


def _images(source: Source) -> list[Dataset]:
    """A single-frame image for each slice; frames and projections get names of their own until :func:`_refer`.

    Without patient and study, whose values highdicom refuses in some real images.
    """
    made = []
    for index, plane in enumerate(source.images):
        image = Dataset()
        image.update(plane)
        for keyword in modules.TYPE_2:
            setattr(image, keyword, None)
        # New elements: those of the source are shared between its frames.
        if not _is_plain(source):
            image.add_new("SOPClassUID", "UI", CTImageStorage if is_placed(plane) else ComputedRadiographyImageStorage)
            image.add_new("SOPInstanceUID", "UI", f"{_STAND_IN}{index}")
        if not is_placed(plane):
            image.pop("FrameOfReferenceUID", None)
        made.append(image)
    return made


def _is_plain(source: Source) -> bool:
    """Whether each slice is a single-frame image in the patient, of which highdicom makes the references itself."""
    return all(is_placed(image) and "ReferencedFrameNumber" not in image for image in source.images)


def _refer(dataset: Any, source: Source) -> None:
    """Have each frame refer to the frame or projection it lies on, and the object list each of them once."""
    if _is_plain(source):
        return
    for group in dataset.PerFrameFunctionalGroupsSequence:
        for reference in group.DerivationImageSequence[0].SourceImageSequence:
            if not reference.ReferencedSOPInstanceUID.startswith(_STAND_IN):
                continue  # frames of one slice share it
            image = source.images[int(reference.ReferencedSOPInstanceUID.removeprefix(_STAND_IN))]
            reference.update(_reference(image))
            if "ReferencedFrameNumber" in image:
                reference.ReferencedFrameNumber = image.ReferencedFrameNumber
    listed = [_reference(image) for image in objects(source.images)]
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = listed
    dataset.SourceImageSequence = listed
    if not is_placed(source.images[0]):
        dataset.PatientOrientation = source.images[0].get("PatientOrientation")


def _reference(image: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference


def _pad_with_null(dataset: Any) -> None:
    """highdicom pads Pixel Data of odd length with a character "0", the standard wants a null byte (PS3.5 8.2)."""
    if dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian:
        used = (int(dataset.NumberOfFrames) * dataset.Rows * dataset.Columns * dataset.BitsAllocated + 7) // 8
        dataset.PixelData = dataset.PixelData[:used] + b"\0" * (used % 2)
