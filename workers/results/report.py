"""Findings → one Comprehensive 3D SR (PS3.3 A.35.13) by TID 1500 Measurement Report.

    Imaging Measurement Report
    ├── language, device observer (the node), procedure reported, image library (TID 1600)
    ├── Imaging Measurements
    │     ├── algorithm identification (TID 4019)
    │     ├── measurement group (TID 1411) per segment
    │     └── measurement group (TID 1411) per set of segments that something was measured or judged over together
    └── comments: what kind of software this is, and the notes of the findings

What was measured over several segments together stands in a group that references those segments of the one
Segmentation: Referenced Segment Number (0062,000B) takes several values. So all groups are of one kind. TID 1501 groups
(no region) beside TID 1411 groups would make PixelMed's validator report errors that are none, and derived measurements
(TID 1420) need references by identifier that few readers follow. Qualitative evaluations stand in the group of the
segments they were judged over, with their reason beside them as a comment, so that they carry a tracking identifier
and a site. Where several evaluations share a group, each comment names its concept.

The document is COMPLETE, since nothing is to be added by the node, UNVERIFIED, since no person has looked, and
PRELIMINARY, since it is not the report of the study.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Code, Evaluation, Findings, Measurement, Segment
from workers.results import codes, provenance
from workers.results.codes import coded
from workers.results.records import Predecessor, ResultContext
from workers.results.segmentation import stand_ins
from workers.results.source import Source, is_placed

_CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
_HAS_ACQUISITION_CONTEXT = hd.sr.RelationshipTypeValues.HAS_ACQ_CONTEXT


def build(
    findings: Findings,
    contract: ModelContract,
    source: Source,
    context: ResultContext,
    time: datetime,
    segmentation: Dataset,
) -> Dataset:
    """The report of ``findings``, whose regions are the segments of ``segmentation``."""
    document: Any = hd.sr.Comprehensive3DSR(
        evidence=[*stand_ins(source), _reference(segmentation)],
        content=_content(findings, contract, source, context, segmentation),
        series_instance_uid=provenance.uid(context, "sr/series"),
        series_number=provenance.series_number(context, "sr"),
        sop_instance_uid=provenance.uid(context, "sr/instance"),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        requested_procedures=list(source.requests) or None,
        series_description=provenance.series_description(contract, "report"),
    )
    provenance.stamp(document, contract, source, context, time)
    if context.predecessors:
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
    findings: Findings, contract: ModelContract, source: Source, context: ResultContext, segmentation: Dataset
) -> Any:
    held = {segment.number for segment in findings.segments if (findings.label_map == segment.number).any()}
    groups = [
        _group(numbers, held, findings, contract, source, context, segmentation)
        for numbers in _sets_of_segments(findings)
    ]
    report = hd.sr.MeasurementReport(
        title=coded(codes.IMAGING_MEASUREMENT_REPORT),
        observation_context=hd.sr.ObservationContext(observer_device_context=_observer(context)),
        procedure_reported=coded(codes.PROCEDURES.get(source.modality, codes.ANY_PROCEDURE)),
        imaging_measurements=groups,
    )
    root = report[0].ContentSequence
    measurements = root[-1]
    for item in reversed(_algorithm(contract)):
        measurements.ContentSequence.insert(0, item)
    root.insert(len(root) - 1, _image_library(findings, source))
    for text in (provenance.DISCLAIMER, *_limits(contract), *findings.notes):
        root.append(_text(codes.COMMENT, text))
    return report


def _sets_of_segments(findings: Findings) -> list[tuple[int, ...]]:
    """Each segment alone, then each set that something was measured or judged over together."""
    everything = tuple(segment.number for segment in findings.segments)
    sets: list[tuple[int, ...]] = [(number,) for number in everything]
    for given in (*(m.segments for m in findings.measurements), *(e.segments for e in findings.evaluations)):
        numbers = given or everything
        if numbers not in sets:
            sets.append(numbers)
    return sets


def _group(
    numbers: tuple[int, ...],
    held: set[int],
    findings: Findings,
    contract: ModelContract,
    source: Source,
    context: ResultContext,
    segmentation: Dataset,
) -> Any:
    """Measurement group of one segment, or of several together; ``held`` are the segments that have a voxel."""
    segments = [findings.segment(number) for number in numbers]
    everything = tuple(segment.number for segment in findings.segments)
    measured = [found for found in findings.measurements if (found.segments or everything) == numbers]
    evaluations = [found for found in findings.evaluations if (found.segments or everything) == numbers]
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(segments, context),
        referenced_segment=_referenced_segments(numbers, segmentation, source),
        finding_category=_common(segment.category for segment in segments),
        finding_type=_common(segment.type for segment in segments),
        finding_sites=_sites(segments, evaluations),
        measurements=[_measurement(found, contract) for found in measured if math.isfinite(found.value)],
        qualitative_evaluations=[
            *_absence(held.intersection(numbers)),
            *(_no_number(found) for found in measured if not math.isfinite(found.value)),
            *map(_evaluation, evaluations),
        ],
    )
    for evaluation in evaluations:
        group[0].ContentSequence.append(_text(codes.COMMENT, _reason(evaluation)))
    return group


def _referenced_segments(numbers: tuple[int, ...], segmentation: Dataset, source: Source) -> Any:
    referenced = hd.sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=list(numbers) if len(numbers) > 1 else numbers[0],
        source_series=hd.sr.SourceSeriesForSegmentation(source.series_instance_uid),
    )
    # The meaning as PS3.16 writes it; highdicom's has capitals, which validators remark upon.
    referenced[1].ConceptNameCodeSequence[0].CodeMeaning = "Source series for segmentation"
    return referenced


def _tracking(segments: Sequence[Segment], context: ResultContext) -> Any:
    if len(segments) == 1:
        return hd.sr.TrackingIdentifier(uid=segments[0].tracking_uid, identifier=segments[0].tracking_id)
    return hd.sr.TrackingIdentifier(
        uid=provenance.tracking_uid(context, (segment.number for segment in segments)),
        identifier=" + ".join(segment.tracking_id for segment in segments),
    )


def _common(found: Iterable[Code]) -> Any:
    """The code that all agree on, or None."""
    distinct = set(found)
    return coded(distinct.pop()) if len(distinct) == 1 else None


def _sites(segments: Sequence[Segment], evaluations: Sequence[Evaluation]) -> list[Any] | None:
    """Where the group lies: the type of its segments with their side, and the sites of what was judged there."""
    sites: dict[Code, Code | None] = {}
    types = {segment.type for segment in segments}
    modifiers = {segment.type_modifier for segment in segments}
    if len(types) == 1:
        sides = {modifier.value for modifier in modifiers if modifier is not None}
        if sides == {codes.LEFT.value, codes.RIGHT.value}:
            sites[types.pop()] = codes.BILATERAL
        else:
            sites[types.pop()] = modifiers.pop() if len(modifiers) == 1 else None
    for evaluation in evaluations:
        if evaluation.site.value not in {site.value for site in sites}:
            sites[evaluation.site] = None
    return [_site(site, modifier) for site, modifier in sites.items()] or None


def _site(site: Code, modifier: Code | None) -> Any:
    if modifier is None:
        return hd.sr.FindingSite(coded(site))
    if modifier.value in codes.LATERALITIES:
        return hd.sr.FindingSite(coded(site), laterality=coded(modifier))
    return hd.sr.FindingSite(coded(site), topographical_modifier=coded(modifier))


def _measurement(found: Measurement, contract: ModelContract) -> Any:
    """A number with its unit; how it was taken stands in the parameters of its algorithm (TID 4019)."""
    algorithm = hd.sr.AlgorithmIdentification(
        name=f"{contract.name} {found.name}",
        version=contract.version,
        parameters=[found.method] if found.method else None,
    )
    return hd.sr.Measurement(
        name=coded(found.concept),
        value=float(found.value),
        unit=coded(found.unit),
        derivation=coded(found.derivation) if found.derivation else None,
        algorithm_id=algorithm,
    )


def _no_number(found: Measurement) -> Any:
    """A measurement that gave no number, e.g. the density of no voxel.

    PS3.3 C.18.1 has a NUM without a value for it, on which highdicom's and other readers fail; so the measured concept
    is answered by the code that would qualify it (CID 42).
    """
    return hd.sr.QualitativeEvaluation(name=coded(found.concept), value=coded(codes.NOT_A_NUMBER))


def _absence(held: set[int]) -> Iterator[Any]:
    """A coded absence where the model looked for segments and found no voxel of them."""
    if not held:
        yield hd.sr.QualitativeEvaluation(name=coded(codes.PRESENCE_OF_SEGMENT), value=coded(codes.ABSENT))


def _evaluation(found: Evaluation) -> Any:
    return hd.sr.QualitativeEvaluation(name=coded(found.concept), value=coded(codes.PRESENCE[found.presence]))


def _reason(found: Evaluation) -> str:
    source = f" Criterion: {found.source}" if found.source else ""
    return f"{found.concept.meaning}: {found.presence}. {found.reason}{source}"


def _observer(context: ResultContext) -> Any:
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


def _text(name: Code, value: str) -> Any:
    return hd.sr.TextContentItem(name=coded(name), value=value, relationship_type=_CONTAINS)


def _number(name: Code, value: float, unit: Code) -> Any:
    return hd.sr.NumContentItem(
        name=coded(name), value=value, unit=coded(unit), relationship_type=_HAS_ACQUISITION_CONTEXT
    )


def _image_library(findings: Findings, source: Source) -> Any:
    """TID 1600: one group, with what all images share (TID 1602, 1604) at its head and the positions at each image."""
    library = hd.sr.ContainerContentItem(name=coded(codes.IMAGE_LIBRARY), relationship_type=_CONTAINS)
    group = hd.sr.ContainerContentItem(name=coded(codes.IMAGE_LIBRARY_GROUP), relationship_type=_CONTAINS)
    group.ContentSequence = hd.sr.ContentSequence([*_shared_descriptors(findings, source), *_entries(source)])
    library.ContentSequence = hd.sr.ContentSequence([group])
    return library


def _shared_descriptors(findings: Findings, source: Source) -> Iterator[Any]:
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


def _reference(segmentation: Dataset) -> Dataset:
    """What the list of evidence needs of the Segmentation."""
    reference = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        reference.add(segmentation[keyword])
    return reference
