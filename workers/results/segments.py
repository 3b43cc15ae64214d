"""Findings over segments → groups of TID 1411 that reference the segments of one Segmentation.

What was measured over several segments together stands in a group that references those segments of the one
Segmentation: Referenced Segment Number (0062,000B) takes several values. So all groups are of one kind. Derived
measurements (TID 1420) would need references by identifier that few readers follow. Qualitative evaluations stand in
the group of the segments they were judged over, with their reason beside them as a comment, so that they carry a
tracking identifier and a site. Where several evaluations share a group, each comment names its concept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Code, Evaluation, Findings, Segment
from workers.results import changes, codes, items, provenance
from workers.results.codes import coded
from workers.results.records import ResultContext
from workers.results.source import Source


def segment_groups(
    findings: Findings, contract: ModelContract, source: Source, context: ResultContext, segmentation: Dataset
) -> list[Any]:
    """A group for each segment, and for each set of segments that something was measured or judged over together."""
    held = findings.held()
    return [
        _group(numbers, held, findings, contract, source, context, segmentation)
        for numbers in _sets_of_segments(findings)
    ]


def _sets_of_segments(findings: Findings) -> list[tuple[int, ...]]:
    """Each segment alone, then each set that something was measured or judged over together."""
    everything = tuple(segment.number for segment in findings.segments)
    sets: list[tuple[int, ...]] = [(number,) for number in everything]
    for given in (*(m.segments for m in findings.measurements), *(e.segments for e in findings.evaluations)):
        if given and given not in sets:
            sets.append(given)
    return sets


def _group(
    numbers: tuple[int, ...],
    held: frozenset[int],
    findings: Findings,
    contract: ModelContract,
    source: Source,
    context: ResultContext,
    segmentation: Dataset,
) -> Any:
    """Measurement group of one segment, or of several together; ``held`` are the segments that have a voxel."""
    segments = [findings.segment(number) for number in numbers]
    measured = [found for found in findings.measurements if found.segments == numbers]
    evaluations = [found for found in findings.evaluations if found.segments == numbers]
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(segments, context),
        referenced_segment=_referenced_segments(numbers, segmentation, source),
        finding_category=_common(segment.category for segment in segments),
        finding_type=_common(segment.type for segment in segments),
        finding_sites=_sites(segments, evaluations),
        measurements=[
            *(items.measurement(found, contract) for found in measured if math.isfinite(found.value)),
            *(items.measurement(changes.number(found), contract) for found in changes.of(findings, numbers)),
        ],
        qualitative_evaluations=[
            *_absence(held.intersection(numbers)),
            *(items.no_number(found) for found in measured if not math.isfinite(found.value)),
            *map(_evaluation, evaluations),
            *changes.evaluations(findings, numbers),
        ],
    )
    for evaluation in evaluations:
        group[0].ContentSequence.append(items.text(codes.COMMENT, _reason(evaluation)))
    return group


def _referenced_segments(numbers: tuple[int, ...], segmentation: Dataset, source: Source) -> Any:
    referenced = hd.sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=list(numbers) if len(numbers) > 1 else numbers[0],
        source_series=hd.sr.SourceSeriesForSegmentation(source.series_instance_uid),
    )
    # The meaning as PS3.16 writes it; highdicom's has capitals, which validators remark upon.
    referenced[1].ConceptNameCodeSequence[0].CodeMeaning = codes.SOURCE_SERIES.meaning
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
    return [items.site(site, modifier) for site, modifier in sites.items()] or None


def _absence(held: frozenset[int]) -> Iterator[Any]:
    """A coded absence where the model looked for segments and found no voxel of them."""
    if not held:
        yield hd.sr.QualitativeEvaluation(name=coded(codes.PRESENCE_OF_SEGMENT), value=coded(codes.ABSENT))


def _evaluation(found: Evaluation) -> Any:
    return hd.sr.QualitativeEvaluation(name=coded(found.concept), value=coded(codes.PRESENCE[found.presence]))


def _reason(found: Evaluation) -> str:
    source = f" Criterion: {found.source}" if found.source else ""
    return f"{found.concept.meaning}: {found.presence}. {found.reason}{source}"
