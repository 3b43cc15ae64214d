"""Findings → a Grayscale Softcopy Presentation State (PS3.3 A.33.1), for viewers that show neither SEG nor SR.

Outlines of segments and places of detections are graphics over the images; colours are those of the segments. Nothing
else of how the images are shown is said: neither window nor zoom.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, GrayscaleSoftcopyPresentationStateStorage

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Detection, Findings
from workers.results import functional_groups, provenance, regions
from workers.results.outlines import Outline, outlines
from workers.results.records import ResultContext
from workers.results.source import Source

NOT_VERIFIED = "AI, not verified"
_MOST_POINTS = 8000  # of one graphic: Graphic Data has a length of 16 bits (PS3.5 7.1.2)
_RADIUS = 8.0  # pixels, of the circle around a detection that is a point
_DETECTIONS = "DETECTIONS"
_DETECTION_COLOR = (255, 200, 0)


def can_show(findings: Findings, image: Dataset) -> bool:
    """Whether there is anything to draw, on images of grey values."""
    grey = str(image.get("PhotometricInterpretation", "MONOCHROME2")).startswith("MONOCHROME")
    return grey and bool(findings.held() or findings.detections)


def build(
    findings: Findings,
    contract: ModelContract,
    source: Source,
    context: ResultContext,
    time: datetime,
    image: Dataset,
) -> Dataset:
    """The presentation state of the images of ``source``; ``image`` is the header of one of them."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    dataset.SOPInstanceUID = provenance.uid(context, "pr/instance")
    dataset.SeriesInstanceUID = provenance.uid(context, "pr/series")
    dataset.SeriesNumber = provenance.series_number(context, "pr")
    dataset.SeriesDescription = provenance.series_description(contract, "presentation")
    dataset.InstanceNumber = 1
    dataset.Modality = "PR"
    dataset.ContentLabel = "AI_NOT_VERIFIED"
    dataset.ContentDescription = provenance.SHORT_DISCLAIMER
    dataset.ContentCreatorName = None  # type 2; no person made it
    dataset.PresentationCreationDate = time.strftime("%Y%m%d")
    dataset.PresentationCreationTime = time.strftime("%H%M%S.%f")
    dataset.PresentationLUTShape = "INVERSE" if image.get("PhotometricInterpretation") == "MONOCHROME1" else "IDENTITY"
    drawn = list(_annotations(findings, source))
    shown = {str(item.ReferencedImageSequence[0].ReferencedSOPInstanceUID) for item in drawn}
    series = Dataset()
    series.SeriesInstanceUID = source.series_instance_uid
    listed = {str(each.SOPInstanceUID): each for each in source.images}
    series.ReferencedImageSequence = [_reference(each, framed=False) for uid, each in listed.items() if uid in shown]
    dataset.ReferencedSeriesSequence = [series]
    dataset.DisplayedAreaSelectionSequence = [_displayed_area(source.images[0])]
    dataset.GraphicAnnotationSequence = drawn
    dataset.GraphicLayerSequence = list(_layers(findings))
    dataset.update(source.series)
    provenance.leave_side_open(dataset, source)
    provenance.stamp(dataset, contract, source, context, time)
    del dataset.ContentDate, dataset.ContentTime  # it has a time of creation instead
    return dataset


def _layer(number: int) -> str:
    return f"SEGMENT {number}"


def _layers(findings: Findings) -> Iterator[Dataset]:
    held = findings.held()
    told = [(_layer(each.number), each.label, each.color) for each in findings.segments if each.number in held]
    told += [(_DETECTIONS, "Detections", _DETECTION_COLOR)] if findings.detections else []
    for order, (name, label, color) in enumerate(told, start=1):
        item = Dataset()
        item.GraphicLayer = name
        item.GraphicLayerOrder = order
        item.GraphicLayerDescription = provenance.cut(f"{label}: {NOT_VERIFIED}", provenance.LONG_STRING)
        item.GraphicLayerRecommendedDisplayCIELabValue = list(hd.color.CIELabColor.from_rgb(*color).value)
        yield item


def _annotations(findings: Findings, source: Source) -> Iterator[Dataset]:
    """An item for each image and layer that has graphics."""
    for layer, held in zip(findings.layers, findings.occupied, strict=True):
        for index in range(len(layer)):
            for number in np.flatnonzero(held[index]):
                if number:
                    drawn = [_polyline(part) for each in outlines(layer[index] == number) for part in _parts(each)]
                    label = findings.segment(int(number)).label
                    at = np.argwhere(layer[index] == number)[0]
                    text = _text(f"{label} ({NOT_VERIFIED})", (float(at[1]), float(at[0])))
                    yield _annotation(source.images[index], _layer(int(number)), drawn, text)
    for found in findings.detections:
        for index, graphic, at in _places(found, findings):
            words = found.tracking_id if found.score is None else f"{found.tracking_id}, {found.score:.2f}"
            text = _text(f"{words} ({NOT_VERIFIED})", at)
            yield _annotation(source.images[index], _DETECTIONS, [graphic], text)


def _places(found: Detection, findings: Findings) -> Iterator[tuple[int, Dataset, tuple[float, float]]]:
    """Image, graphic, and where its words stand: the polygons of a box, or a circle around a point."""
    grid, points = findings.grid, np.asarray(found.points, dtype=np.float64)
    if len(points) == 1:
        at = grid.lps_to_index(points)[0]
        index = min(max(round(float(at[0])), 0), grid.shape[0] - 1)
        x, y = float(at[2]) + 0.5, float(at[1]) + 0.5
        yield index, _graphic("CIRCLE", np.array([[x, y], [x + _RADIUS, y]])), (x + _RADIUS, y)
        return
    for polygon in regions.polygons(points, grid):
        indices = grid.lps_to_index(polygon)
        index = min(max(round(float(indices[0, 0])), 0), grid.shape[0] - 1)
        drawn = indices[:, [2, 1]] + 0.5
        yield index, _polyline(drawn), (float(drawn[:, 0].max()), float(drawn[:, 1].min()))


def _parts(outline: Outline) -> Iterator[Outline]:
    """An outline of many points in pieces that follow each other."""
    for start in range(0, len(outline) - 1, _MOST_POINTS - 1):
        yield outline[start : start + _MOST_POINTS]


def _polyline(points: Outline) -> Dataset:
    return _graphic("POLYLINE", points)


def _graphic(kind: str, points: Outline) -> Dataset:
    item = Dataset()
    item.GraphicAnnotationUnits = "PIXEL"
    item.GraphicDimensions = 2
    item.NumberOfGraphicPoints = len(points)
    item.GraphicData = [float(value) for value in points.ravel()]
    item.GraphicType = kind
    if kind == "CIRCLE" or np.array_equal(points[0], points[-1]):
        item.GraphicFilled = "N"
    return item


def _text(words: str, at: tuple[float, float]) -> Dataset:
    item = Dataset()
    item.AnchorPointAnnotationUnits = "PIXEL"
    item.UnformattedTextValue = words
    item.AnchorPoint = [at[0], at[1]]
    item.AnchorPointVisibility = "N"
    return item


def _annotation(image: Dataset, layer: str, graphics: Sequence[Dataset], text: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedImageSequence = [_reference(image, framed=True)]
    item.GraphicLayer = layer
    item.TextObjectSequence = [text]
    item.GraphicObjectSequence = list(graphics)
    return item


def _reference(image: Dataset, *, framed: bool) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    if framed and "ReferencedFrameNumber" in image:
        item.ReferencedFrameNumber = image.ReferencedFrameNumber
    return item


def _displayed_area(image: Dataset) -> Dataset:
    """All of each image; all of a series have one size."""
    item = Dataset()
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [int(image.Columns), int(image.Rows)]
    item.PresentationSizeMode = "SCALE TO FIT"
    if image.get("PixelSpacing"):
        item.PresentationPixelSpacing = [functional_groups.decimal(float(each)) for each in image.PixelSpacing]
    else:
        item.PresentationPixelAspectRatio = [1, 1]
    return item
