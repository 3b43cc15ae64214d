"""A map of real numbers → one Parametric Map (PS3.3 A.75) on the grid of its source, in float pixel data.

Each frame lies on an image of the source and names it; Real World Value Mapping says what the numbers are. highdicom's
ParametricMap is the reference for what must stand in it; it is not used here since it takes no sources without a
position in the patient, and keeps every frame as objects.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Findings, ParameterMap
from workers.results import codes, functional_groups, provenance, segmentation
from workers.results.functional_groups import FrameOf
from workers.results.records import ResultContext
from workers.results.source import Source, is_placed

_KIND = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]  # Image Type and Frame Type (PS3.3 C.8.16.1)
PARAMETRIC_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.30")


def build(
    found: ParameterMap,
    findings: Findings,
    contract: ModelContract,
    source: Source,
    context: ResultContext,
    time: datetime,
) -> Dataset:
    """The Parametric Map of ``found``, whose slices are the images of ``source``."""
    placed = is_placed(source.images[0])
    order = list(range(len(findings.frames)))[::-1] if placed else [0]
    frames = [FrameOf(0, index, (rank,)) for rank, index in enumerate(order, start=1)]
    dataset = Dataset()
    _identify(dataset, found, contract, context)
    _describe_image(dataset, source, len(frames))
    segmentation.order(dataset, source, [frame.slice for frame in frames], provenance.uid(context, "pm/dimensions"))
    segmentation.refer(dataset, source)
    dataset.SharedFunctionalGroupsSequence = [_shared(found, findings, source)]
    dataset[0x52009230] = functional_groups.per_frame(
        frames, source.images, identify=False, derived_by=codes.EXPLANATION_MAP
    )
    stacked = np.stack([found.values[index] for index in order])
    dataset.add_new(0x7FE00008, "OF", stacked.astype("<f4", copy=False).tobytes())
    dataset.update(source.series)
    provenance.leave_side_open(dataset, source)
    provenance.stamp(dataset, contract, source, context, time)
    return dataset


def _identify(dataset: Dataset, found: ParameterMap, contract: ModelContract, context: ResultContext) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = PARAMETRIC_MAP_STORAGE
    dataset.SOPInstanceUID = provenance.uid(context, "pm/instance")
    dataset.SeriesInstanceUID = provenance.uid(context, "pm/series")
    dataset.SeriesNumber = provenance.series_number(context, "pm")
    dataset.SeriesDescription = provenance.series_description(contract, "map")
    dataset.InstanceNumber = 1
    dataset.Modality = "OT"
    dataset.ContentLabel = "EXPLANATION"
    dataset.ContentDescription = provenance.cut(f"{found.of}: {found.concept.meaning}", provenance.LONG_STRING)
    dataset.ContentCreatorName = None  # type 2; no person made it
    dataset.ImageComments = provenance.cut(f"{found.description} {provenance.SHORT_DISCLAIMER}.", provenance.SHORT_TEXT)


def _describe_image(dataset: Dataset, source: Source, frames: int) -> None:
    """General Image, Floating Point Image Pixel and Parametric Map Image modules (PS3.3 C.7.6.24, C.8.32.2)."""
    first = source.images[0]
    dataset.ImageType = _KIND
    segmentation.tell_of_loss(dataset, first)
    dataset.BurnedInAnnotation = "NO"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.ContentQualification = "RESEARCH"
    dataset.PixelPresentation = "MONOCHROME"
    dataset.AcquisitionContextSequence = []
    dataset.NumberOfFrames = frames
    dataset.Rows, dataset.Columns = first.Rows, first.Columns
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.BitsAllocated = 1, "MONOCHROME2", 32


def _shared(found: ParameterMap, findings: Findings, source: Source) -> Dataset:
    group = segmentation.geometry(findings, source)
    frame_type = Dataset()
    frame_type.FrameType = _KIND
    group.ParametricMapFrameTypeSequence = [frame_type]
    transformation = Dataset()
    transformation.RescaleIntercept, transformation.RescaleSlope, transformation.RescaleType = "0", "1", "US"
    group.PixelValueTransformationSequence = [transformation]
    group.FrameVOILUTSequence = [_window(found)]
    group.RealWorldValueMappingSequence = [_mapping(found)]
    return group


def _window(found: ParameterMap) -> Dataset:
    """From the lowest to the highest number; a map that never varies gets a window of 1."""
    low, high = float(found.values.min()), float(found.values.max())
    item = Dataset()
    item.WindowCenter = functional_groups.decimal((low + high) / 2)
    item.WindowWidth = functional_groups.decimal((high - low) or 1.0)
    item.VOILUTFunction = "LINEAR_EXACT"
    return item


def _mapping(found: ParameterMap) -> Any:
    """The numbers are what they are; their quantity and unit in codes (PS3.3 C.7.6.16.2.11)."""
    low, high = float(found.values.min()), float(found.values.max())
    return hd.pm.RealWorldValueMapping(
        lut_label=provenance.cut(found.name, provenance.SHORT_STRING),
        lut_explanation=provenance.cut(found.concept.meaning, provenance.LONG_STRING),
        unit=codes.coded(found.unit),
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.coded(found.concept),
    )
