"""Do key objects, presentation state and summary say what was found? Read from the bytes of their files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.domain.finding import Findings
from workers.results import codes, key_images
from workers.results.readback_masks import wrong

_Image = tuple[str, int | None]


def check_key_objects(document: Dataset, findings: Findings, sources: Sequence[Dataset]) -> None:
    """It must be titled "Of Interest" and name the images that key images are of, each once."""
    title = document.ConceptNameCodeSequence[0]
    if (title.CodeValue, title.CodingSchemeDesignator) != (codes.OF_INTEREST.value, codes.OF_INTEREST.scheme):
        raise wrong("KO", f"its title is {title.CodeMeaning}")
    named: list[_Image] = []
    for item in document.ContentSequence:
        if item.ValueType == "IMAGE":
            named += _images(item.ReferencedSOPSequence[0])
    expected = [_of_slice(findings, sources, key.slice) for key in key_images.key_images(findings)]
    if Counter(named) != Counter(expected):
        raise wrong("KO", f"it names {len(named)} images, not the {len(expected)} that are worth looking at")


def check_presentation(state: Dataset, findings: Findings, sources: Sequence[Dataset]) -> None:
    """On each image the outlines of a segment enclose as many pixels as it has; each detection is there."""
    enclosed: dict[tuple[_Image, str], float] = defaultdict(float)
    detections = 0
    for item in state.GraphicAnnotationSequence:
        where = _images(item.ReferencedImageSequence[0])[0]
        if item.GraphicLayer == "DETECTIONS":
            detections += 1
            continue
        for graphic in item.GraphicObjectSequence:
            x, y = np.asarray(graphic.GraphicData, dtype=np.float64).reshape(-1, 2).T
            enclosed[where, item.GraphicLayer] += float(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2
    expected = {
        (_of_slice(findings, sources, at), f"SEGMENT {number}"): float(count)
        for number, area in key_images.areas(findings).items()
        for at, count in enumerate(area)
        if count
    }
    if dict(enclosed) != expected:
        raise wrong("PR", "its outlines enclose other areas than the segments have")
    if detections < len(findings.detections):
        raise wrong("PR", f"it shows {detections} places of {len(findings.detections)} detections")


def check_summary(capture: Dataset, findings: Findings) -> None:
    """A page that is no blank, made of one of the images, without a word on who the patient is."""
    if capture.BurnedInAnnotation != "NO":
        raise wrong("SC", "it says that the patient can be told from its pixels")
    if str(capture.SourceImageSequence[0].ReferencedSOPInstanceUID) not in findings.frames:
        raise wrong("SC", "it shows another image than those of the findings")
    shape = int(capture.Rows), int(capture.Columns), 3
    if len(capture.PixelData) != np.prod(shape) or len(set(capture.PixelData[: 3 * shape[1] * 90])) < 3:
        raise wrong("SC", "its pixels are not those of a page")


def _images(reference: Dataset) -> list[_Image]:
    """The image, or frames of one, that an item refers to."""
    uid, numbers = str(reference.ReferencedSOPInstanceUID), reference.get("ReferencedFrameNumber")
    if numbers is None:
        return [(uid, None)]
    return [(uid, int(number)) for number in ([numbers] if isinstance(numbers, int) else numbers)]


def _of_slice(findings: Findings, sources: Sequence[Dataset], index: int) -> _Image:
    number = sources[index].get("ReferencedFrameNumber") if sources else None
    return findings.frames[index], None if number is None else int(number)
