"""Findings → Comprehensive 3D SRs (PS3.3 A.35.13) by TID 1500 Measurement Report.

    Imaging Measurement Report
    ├── language, device observer (the node), procedure reported, image library (TID 1600)
    ├── Imaging Measurements
    │     ├── algorithm identification (TID 4019)
    │     └── measurement groups
    └── comments: what kind of software this is, and the notes of the findings

One document holds groups of one kind: of segments (TID 1411), of the series as a whole (TID 1501), or of detections by
their coordinates (TID 1410 and 1411). Viewers that show one kind drop a document that mixes them, and TID 1501 groups
beside TID 1411 groups make PixelMed's validator report errors that are none. The first document of these is the report
(``sr``); the others stand beside it in the same series.

A document is COMPLETE, since nothing is to be added by the node, UNVERIFIED, since no person has looked, and
PRELIMINARY, since it is not the report of the study.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node.archive import modules
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Code, Findings
from workers.results import changes, codes, items, provenance
from workers.results.codes import coded
from workers.results.records import Kind, Predecessor, ResultContext
from workers.results.regions import region_groups, series_groups
from workers.results.segments import segment_groups
from workers.results.source import Source, is_placed, objects

_CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
_HAS_ACQUISITION_CONTEXT = hd.sr.RelationshipTypeValues.HAS_ACQ_CONTEXT


def build(
    findings: Findings,
    contract: ModelContract,
    source: Source,
    context: ResultContext,
    time: datetime,
    segmentation: Dataset | None,
    explanation: Dataset | None = None,
    key_objects: Dataset | None = None,
) -> dict[Kind, Dataset]:
    """The reports of ``findings``, the main one first.

    ``segmentation`` holds the segments, where there are any, ``explanation`` the map of an answer; ``key_objects``
    select images, and are listed as evidence of the same request (PS3.3 C.17.2).
    """
    parts: list[tuple[Kind, list[Any]]] = []
    if segmentation is not None:
        parts.append(("sr", segment_groups(findings, contract, source, context, segmentation)))
    if groups := series_groups(findings, contract, context, explanation):
        parts.append(("sr_series" if parts else "sr", groups))
    if groups := region_groups(findings, contract, source):
        parts.append(("sr_regions" if parts else "sr", groups))
    return {
        kind: _document(
            kind,
            number,
            groups,
            findings,
            contract,
            source,
            context,
            time,
            [o for o in (segmentation if number == 1 else None, explanation, key_objects) if o is not None],
        )
        for number, (kind, groups) in enumerate(parts, start=1)
    }


def _document(
    kind: Kind,
    number: int,
    groups: list[Any],
    findings: Findings,
    contract: ModelContract,
    source: Source,
    context: ResultContext,
    time: datetime,
    others: Sequence[Dataset],
) -> Dataset:
    referenced = [_reference(other) for other in others]
    document: Any = hd.sr.Comprehensive3DSR(
        evidence=[*evidence(objects(source.images)), *referenced],
        content=_content(groups, contract, _notes(findings), source, context),
        series_instance_uid=provenance.uid(context, "sr/series"),
        series_number=provenance.series_number(context, "sr"),
        sop_instance_uid=provenance.uid(context, f"{kind}/instance"),
        instance_number=number,
        is_complete=True,
        is_final=False,
        is_verified=False,
        requested_procedures=list(source.requests) or None,
        series_description=provenance.series_description(contract, "report"),
    )
    _put_image_library(document, findings, source)
    if findings.comparison is not None:
        changes.refer(document, findings.comparison)
    provenance.stamp(document, contract, source, context, time)
    if context.predecessors and kind == "sr":
        document.PredecessorDocumentsSequence = [_predecessor(replaced) for replaced in context.predecessors]
    return document  # type: ignore[no-any-return]


def _predecessor(replaced: Predecessor) -> Dataset:
    """An item of Predecessor Documents Sequence (0040,A360): PS3.3 C.17.2, table C.17-3."""
    object_ = Dataset()
    object_.ReferencedSOPClassUID = replaced.sop_class_uid
    object_.ReferencedSOPInstanceUID = replaced.sop_instance_uid
    series = Dataset()
    series.SeriesInstanceUID = replaced.series_instance_uid
    series.ReferencedSOPSequence = [object_]
    item = Dataset()
    item.StudyInstanceUID = replaced.study_instance_uid
    item.ReferencedSeriesSequence = [series]
    return item


def _content(
    groups: list[Any], contract: ModelContract, notes: tuple[str, ...], source: Source, context: ResultContext
) -> Any:
    report = hd.sr.MeasurementReport(
        title=coded(codes.IMAGING_MEASUREMENT_REPORT),
        observation_context=hd.sr.ObservationContext(observer_device_context=observer(context)),
        procedure_reported=coded(codes.PROCEDURES.get(source.modality, codes.ANY_PROCEDURE)),
        imaging_measurements=groups,
    )
    root = report[0].ContentSequence
    measurements = root[-1]
    for item in reversed(_algorithm(contract)):
        measurements.ContentSequence.insert(0, item)
    for comment in (provenance.DISCLAIMER, *_limits(contract), *notes):
        root.append(items.text(codes.COMMENT, comment))
    return report


def _notes(findings: Findings) -> tuple[str, ...]:
    return (*findings.notes, *(findings.comparison.sentences() if findings.comparison else ()))


def observer(context: ResultContext) -> Any:
    """The node as device observer (TID 1004)."""
    return hd.sr.ObserverContext(
        observer_type=coded(codes.DEVICE),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=provenance.device_uid(context),
            name=context.station,
            manufacturer_name=provenance.MANUFACTURER,
            model_name=provenance.MODEL_NAME,
            serial_number=str(context.installation),
        ),
    )


def _algorithm(contract: ModelContract) -> Any:
    return hd.sr.AlgorithmIdentification(
        name=contract.name,
        version=contract.version,
        manufacturer=contract.manufacturer,
        family=coded(provenance.algorithm_family(contract)),
        parameters=[f"Model digest (SHA-256): {contract.digest}"],
    )


def _limits(contract: ModelContract) -> Iterator[str]:
    yield f"Model {contract.name} {contract.version}, status: {contract.status}. {contract.intended_use.strip()}"
    if contract.limits:
        yield "Limits of the model: " + " ".join(contract.limits)


def _number(name: Code, value: float, unit: Code) -> Any:
    return hd.sr.NumContentItem(
        name=coded(name), value=value, unit=coded(unit), relationship_type=_HAS_ACQUISITION_CONTEXT
    )


def _put_image_library(document: Any, findings: Findings, source: Source) -> None:
    """Put the image library before the measurements.

    In the finished document: highdicom copies and searches all content it is given, and a library has items by the
    thousand.
    """
    root = document.ContentSequence
    at = next(index for index, item in enumerate(root) if item.name == coded(codes.IMAGING_MEASUREMENTS))
    root.insert(at, _image_library(findings, source))


def _image_library(findings: Findings, source: Source) -> Any:
    """TID 1600: one group, with what all images share (TID 1602, 1604) at its head and the positions at each image."""
    library = hd.sr.ContainerContentItem(name=coded(codes.IMAGE_LIBRARY), relationship_type=_CONTAINS)
    group = hd.sr.ContainerContentItem(name=coded(codes.IMAGE_LIBRARY_GROUP), relationship_type=_CONTAINS)
    group.ContentSequence = hd.sr.ContentSequence([*_shared_descriptors(findings, source), *_entries(source)])
    library.ContentSequence = hd.sr.ContentSequence([group])
    return library


def _shared_descriptors(findings: Findings, source: Source) -> Iterator[Any]:
    """What all images share; a projection has no frame of reference, orientation or spacing in the patient."""
    first = source.images[0]
    if is_placed(first):
        yield hd.sr.UIDRefContentItem(
            name=coded(codes.FRAME_OF_REFERENCE),
            value=first.FrameOfReferenceUID,
            relationship_type=_HAS_ACQUISITION_CONTEXT,
        )
    yield _number(codes.ROWS, int(first.Rows), codes.PIXELS)
    yield _number(codes.COLUMNS, int(first.Columns), codes.PIXELS)
    if not is_placed(first):
        return
    yield _number(codes.HORIZONTAL_SPACING, float(first.PixelSpacing[1]), codes.MILLIMETRE)
    yield _number(codes.VERTICAL_SPACING, float(first.PixelSpacing[0]), codes.MILLIMETRE)
    yield _number(codes.SLICE_SPACING, findings.grid.spacing[0], codes.MILLIMETRE)
    if first.get("SliceThickness"):
        yield _number(codes.SLICE_THICKNESS, float(first.SliceThickness), codes.MILLIMETRE)
    for name, value in zip(codes.ORIENTATIONS, first.ImageOrientationPatient, strict=True):
        yield _number(name, float(value), codes.COSINE)


def _entries(source: Source) -> Iterator[Any]:
    for image in source.images:
        entry = hd.sr.ImageContentItem(
            name=coded(codes.SOURCE),
            referenced_sop_class_uid=image.SOPClassUID,
            referenced_sop_instance_uid=image.SOPInstanceUID,
            referenced_frame_numbers=_frame_number(image),
            relationship_type=_CONTAINS,
        )
        if is_placed(image):
            entry.ContentSequence = hd.sr.ContentSequence(
                _number(name, float(value), codes.MILLIMETRE)
                for name, value in zip(codes.POSITIONS, image.ImagePositionPatient, strict=True)
            )
        yield entry


def _frame_number(image: Dataset) -> list[int] | None:
    return [int(image.ReferencedFrameNumber)] if "ReferencedFrameNumber" in image else None


def evidence(images: Sequence[Dataset]) -> list[Dataset]:
    """Source objects, one header each, as highdicom asks for them.

    It takes patient and study from the first one, and refuses values that stand in real images. So it is given none;
    ``provenance.stamp`` writes them afterwards.
    """
    first, *others = images
    nobodys = Dataset()
    nobodys.update(first)
    for keyword in modules.TYPE_2:
        setattr(nobodys, keyword, None)
    return [nobodys, *others]


def _reference(segmentation: Dataset) -> Dataset:
    """What the list of evidence needs of another object of this result."""
    reference = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        reference.add(segmentation[keyword])
    return reference
