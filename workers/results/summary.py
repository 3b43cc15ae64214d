"""Findings → a Secondary Capture (PS3.3 A.8.1) of one page, for archives and viewers that show nothing else.

"AI result, not verified" stands in its pixels. No patient identifier does, so Burned In Annotation (0028,0301) is NO.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.domain.contract import ModelContract, Status
from dicom_node.domain.finding import Detection, Findings, Measurement
from workers.results import codes, key_images, picture, provenance, segmentation
from workers.results.codes import coded
from workers.results.picture import Line, heading, small
from workers.results.records import ResultContext
from workers.results.source import Source

TITLE = "AI RESULT - NOT VERIFIED"
_DETECTIONS = 8  # told one by one


def build(
    findings: Findings,
    contract: ModelContract,
    source: Source,
    context: ResultContext,
    time: datetime,
    headers: Sequence[Dataset],
    pixels: npt.NDArray[Any] | None,
) -> Dataset:
    """The page. ``pixels``: axes (slice, row, column) or (slice, row, column, RGB); without them there is no image."""
    at = _worth_most(findings)
    shown = None if pixels is None else picture.slice_picture(findings, pixels[at], at, headers[at])
    page = picture.page(
        TITLE,
        f"{contract.title} ({contract.name} {contract.version})"
        + (". RESEARCH, not for diagnosis" if contract.status is Status.RESEARCH else ""),
        shown,
        f"Image {at + 1} of {len(findings.frames)} of the series",
        list(_found(findings)),
        list(_about(findings, contract, source)),
    )
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = provenance.uid(context, "sc/instance")
    dataset.SeriesInstanceUID = provenance.uid(context, "sc/series")
    dataset.SeriesNumber = provenance.series_number(context, "sc")
    dataset.SeriesDescription = provenance.series_description(contract, "summary")
    dataset.InstanceNumber = 1
    dataset.Modality = "OT"
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = "Findings of an AI model in words, and an image with outlines; not verified"
    dataset.SourceImageSequence = [_source_image(source.images[at])]
    dataset.BurnedInAnnotation = "NO"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.ImageComments = f"{provenance.SHORT_DISCLAIMER}. Not verified by a person."
    dataset.PatientOrientation = None  # type 2C: a page has none
    segmentation.tell_of_loss(dataset, source.images[at])
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.Rows, dataset.Columns = page.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.add_new(0x7FE00010, "OB", page.tobytes())
    dataset.update(source.series)
    provenance.leave_side_open(dataset, source)
    provenance.stamp(dataset, contract, source, context, time)
    return dataset


def _source_image(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    if "ReferencedFrameNumber" in image:
        item.ReferencedFrameNumber = image.ReferencedFrameNumber
    item.PurposeOfReferenceCodeSequence = [coded(codes.SOURCE_IMAGE)]
    return item


def _worth_most(findings: Findings) -> int:
    """The image to be shown: of the best detection, of what holds most of all segments, else the first key image."""
    chosen = key_images.key_images(findings)
    if not findings.detections and (counted := key_images.areas(findings)):
        return int(np.sum(list(counted.values()), axis=0).argmax())
    return chosen[0].slice if chosen else len(findings.frames) // 2


def _found(findings: Findings) -> Iterator[Line]:
    yield heading("WHAT THE MODEL FOUND")
    for answer in findings.classes:
        sure = "" if answer.probability is None else f" (probability {100 * answer.probability:.0f} %)"
        yield Line(f"{answer.concept.meaning}: {answer.presence}{sure}")
        if answer.probability is None:
            yield small(answer.reason)
    for judged in findings.evaluations:
        where = ", ".join(findings.segment(number).label for number in judged.segments)
        yield Line(f"{judged.concept.meaning}{f' ({where})' if where else ''}: {judged.presence}")
        yield small(judged.reason)
    yield from _detections(findings.detections)
    held = findings.held()
    for segment in findings.segments:
        told = [found for found in findings.measurements if found.segments == (segment.number,)]
        missing = "" if segment.number in held else ": not found"
        yield Line(segment.label + missing, box=segment.color)
        yield from (small(_number(found)) for found in told)
    for numbers in dict.fromkeys(found.segments for found in findings.measurements if len(found.segments) > 1):
        yield Line(" + ".join(findings.segment(number).label for number in numbers))
        yield from (small(_number(found)) for found in findings.measurements if found.segments == numbers)
    yield from (Line(_number(found)) for found in findings.measurements if not found.segments)
    yield from _changes(findings)
    if not (findings.segments or findings.classes or findings.measurements or findings.detections):
        yield from (Line(note) for note in findings.notes if note.startswith("Not evaluated"))


def _changes(findings: Findings) -> Iterator[Line]:
    """What is said of changes; no date, which would be one of the patient."""
    against = findings.comparison
    told = [found for found in against.changes if found.verdict in codes.VERDICTS] if against else []
    if told:
        yield heading("SINCE THE EARLIER RESULT OF THIS MODEL")
    for found in told:
        where = " + ".join(findings.segment(number).label for number in found.segments)
        values = f"{_digits(found.earlier)}, now {_digits(found.value)} {_unit(found.unit.value)}"
        yield small(f"{where}{': ' if where else ''}{found.concept.meaning} {values}: {found.verdict}")


def _detections(found: Sequence[Detection]) -> Iterator[Line]:
    for each in found[:_DETECTIONS]:
        numbers = "; ".join(_number(one) for one in each.measurements)
        score = "" if each.score is None else f", {each.score_concept.meaning.lower()} {100 * each.score:.0f} %"
        yield Line(f"{each.number}. {each.concept.meaning}{score}")
        if numbers:
            yield small(numbers)
    if len(found) > _DETECTIONS:
        yield small(f"and {len(found) - _DETECTIONS} more detections: see the report (SR)")


def _number(found: Measurement) -> str:
    """A measurement with its unit, its interval where it has one, and its derivation."""
    unit = "" if found.unit.value == "1" else f" {_unit(found.unit.value)}"
    how = f" ({found.derivation.meaning.lower()})" if found.derivation else ""
    told = found.uncertainty
    between = f" [{_digits(told.low)} to {_digits(told.high)}]" if told else ""
    return f"{found.concept.meaning}{how}: {_digits(found.value)}{unit}{between}"


def _unit(ucum: str) -> str:
    return {"[hnsf'U]": "HU", "a": "years"}.get(ucum, ucum).strip("{}")


def _digits(value: float) -> str:
    """Four digits that count, all of them before the point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _about(findings: Findings, contract: ModelContract, source: Source) -> Iterator[Line]:
    yield heading("MODEL AND IMAGES")
    yield Line(f"{provenance.DISCLAIMER} No person has looked at this result.", 16, (255, 255, 255))
    digest = contract.digest[:16]
    yield small(f"{contract.title}, version {contract.version}, by {contract.manufacturer}; digest {digest}.")
    yield small(f"Made of {len(findings.frames)} {source.modality} images. {contract.intended_use.strip()}")
    if contract.limits:
        yield small("Limits: " + " ".join(contract.limits))
