"""Do the bytes say what was found? Read again before anything is committed, by other code than wrote them.

The mask is put together from the bits of the file and the positions of its frames; the report's groups from its content
tree. Both are compared with the findings in memory.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from dicom_node.domain.finding import Code, Findings, Lesion, Measurement, Segment
from dicom_node.domain.identifiers import is_valid_uid
from dicom_node.domain.profile import Companion
from dicom_node.errors import ResultError
from workers.results import (
    changes,
    codes,
    items,
    key_images,
    presentation,
    readback_companions,
    readback_maps,
    regions,
    source,
)
from workers.results import readback_masks as masks
from workers.results.readback_masks import wrong
from workers.results.records import REPORTS, Kind, ResultObject

# Numeric Value (0040,A30A) has 16 characters, so ten digits at least.
_VALUE_TOLERANCE = 1e-9
_COORDINATE_TOLERANCE_MM = 1e-3  # Graphic Data (0070,0022) is FL

# A concept as it is compared: value and scheme; meanings are words.
_Concept = tuple[str, str]
_UNCERTAINTIES = frozenset((code.value, code.scheme) for code in (codes.UPPER_UNCERTAINTY, codes.LOWER_UNCERTAINTY))
_Measured = dict[tuple[object, ...], list[float]]


def check(
    objects: Sequence[ResultObject],
    findings: Findings,
    sources: Sequence[Dataset] = (),
    companions: Collection[Companion] = (),
) -> None:
    """Read the encoded objects again and compare them with the findings.

    With the headers of the source images, patient, study and order are compared with theirs, too. ``companions`` are
    those that were asked for.

    Raises:
        ResultError: names the object and what differs.
    """
    read = {item.kind: _read(item) for item in objects}
    beside = expected_companions(findings, sources, companions)
    if len(read) != len(objects) or set(read) != expected_kinds(findings) | beside:
        wanted = ", ".join(sorted(expected_kinds(findings) | beside))
        raise ResultError(f"these findings make {wanted}, not {[item.kind for item in objects]}")
    segmentation = read.get("seg")
    expected = source.read(sources[:1]).patient_and_study if sources else next(iter(read.values()))
    for kind, dataset in read.items():
        _check_patient(kind, dataset, expected, "images" if sources else "SEG")
    _check_series_uids(read)
    if segmentation is not None:
        _check_segmentation(segmentation, findings)
        _check_frame_numbers(segmentation, findings, sources)
    if findings.explanation is not None:
        readback_maps.check(read["pm"], findings, findings.explanation)
        _check_reference(read, findings)
    for kind, dataset in read.items():
        if kind in REPORTS:
            _check_prior(dataset, findings)
            _check_report(kind, dataset, segmentation, findings)
    if "ko" in read:
        readback_companions.check_key_objects(read["ko"], findings, sources)
    if "pr" in read:
        readback_companions.check_presentation(read["pr"], findings, sources)
    if "sc" in read:
        readback_companions.check_summary(read["sc"], findings)


def expected_companions(findings: Findings, sources: Sequence[Dataset], companions: Collection[Companion]) -> set[Kind]:
    """The companions that findings are told in, of those that were asked for."""
    kinds: set[Kind] = {"sc"} if Companion.SUMMARY in companions else set()
    if Companion.KEY_IMAGES in companions and key_images.key_images(findings):
        kinds.add("ko")
    image = sources[0] if sources else Dataset()
    if Companion.PRESENTATION in companions and presentation.can_show(findings, image):
        kinds.add("pr")
    return kinds


def expected_kinds(findings: Findings) -> set[Kind]:
    """The objects that findings are written as."""
    kinds: set[Kind] = {"seg", "sr"} if findings.segments else set()
    if _of_the_series(findings):
        kinds.add("sr_series" if "sr" in kinds else "sr")
    if findings.detections:
        kinds.add("sr_regions" if "sr" in kinds else "sr")
    if findings.explanation is not None:
        kinds.add("pm")
    return kinds


def _check_prior(report: Dataset, findings: Findings) -> None:
    """It must name the prior report that it was compared with, and no other."""
    named = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in report.ContentSequence
        if item.ValueType == "COMPOSITE"
    ]
    if named != ([findings.comparison.prior.sop_uid] if findings.comparison else []):
        raise wrong("SR", f"it names {named} as prior reports")


def _check_reference(read: Mapping[Kind, Dataset], findings: Findings) -> None:
    """The report of the series must name the map, once."""
    report = read["sr_series" if "sr_series" in read else "sr"]
    named = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for group in _groups(report)
        for item in group
        if item.ValueType == "IMAGE" and _name(item) == _key(codes.EXPLANATION_MAP)
    ]
    if named != [str(read["pm"].SOPInstanceUID)]:
        raise wrong("SR", f"it names {named} as maps")


def _read(item: ResultObject) -> Dataset:
    dataset = pydicom.dcmread(BytesIO(item.data))
    stated = {
        "SOPClassUID": item.sop_class_uid,
        "SOPInstanceUID": item.sop_instance_uid,
        "SeriesInstanceUID": item.series_instance_uid,
    }
    for keyword, value in stated.items():
        if str(dataset.get(keyword, "")) != value or not is_valid_uid(value):
            raise wrong(item.kind.upper(), f"{keyword} is {dataset.get(keyword)}, not {value}")
    if str(dataset.file_meta.TransferSyntaxUID) != item.transfer_syntax_uid:
        raise wrong(item.kind.upper(), f"its transfer syntax is {dataset.file_meta.TransferSyntaxUID}")
    return dataset


def _check_patient(kind: Kind, dataset: Dataset, expected: Dataset, whose: str) -> None:
    for keyword in ("PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID"):
        # Spaces at the end only pad a value to even length.
        if str(dataset.get(keyword) or "").rstrip() != str(expected.get(keyword) or "").rstrip():
            raise wrong(kind.upper(), f"its {keyword} is not that of the {whose}")


def _check_series_uids(read: Mapping[Kind, Dataset]) -> None:
    reports = {str(dataset.SeriesInstanceUID) for kind, dataset in read.items() if kind in REPORTS}
    if len(reports) != 1:
        raise wrong("SR", "the reports stand in several series")
    for kind in sorted(set(read) - set(REPORTS)):
        if str(read[kind].SeriesInstanceUID) in reports:
            raise wrong("SR", f"it stands in the series of the {kind.upper()}")


def _check_segmentation(segmentation: Dataset, findings: Findings) -> None:
    described = {int(item.SegmentNumber): item for item in segmentation.SegmentSequence}
    if sorted(described) != sorted(segment.number for segment in findings.segments):
        raise wrong("SEG", f"it describes the segments {sorted(described)}")
    for segment in findings.segments:
        _check_segment(described[segment.number], segment)
    masks.check(segmentation, findings)
    listed = {
        str(image.ReferencedSOPInstanceUID)
        for series in segmentation.ReferencedSeriesSequence
        for image in series.ReferencedInstanceSequence
    }
    if listed != set(findings.frames):
        raise wrong("SEG", "it references other images than those of the findings")


def _check_frame_numbers(segmentation: Dataset, findings: Findings, sources: Sequence[Dataset]) -> None:
    """Of multi-frame sources each frame must name the frame it lies on."""
    groups = segmentation.PerFrameFunctionalGroupsSequence
    for group, (_, index) in zip(groups, masks.frames(segmentation, findings), strict=True):
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = sources[index].get("ReferencedFrameNumber") if sources else reference.get("ReferencedFrameNumber")
        if reference.get("ReferencedFrameNumber") != number:
            raise wrong("SEG", f"the frame on slice {index} references frame {reference.get('ReferencedFrameNumber')}")


def _check_segment(item: Dataset, segment: Segment) -> None:
    property_type = item.SegmentedPropertyTypeCodeSequence[0]
    modifiers = property_type.get("SegmentedPropertyTypeModifierCodeSequence") or [None]
    found = (
        _concept(item.SegmentedPropertyCategoryCodeSequence[0]),
        _concept(property_type),
        _concept(modifiers[0]) if modifiers[0] is not None else None,
        str(item.TrackingUID),
    )
    modifier = _key(segment.type_modifier) if segment.type_modifier else None
    if found != (_key(segment.category), _key(segment.type), modifier, segment.tracking_uid):
        raise wrong("SEG", f"segment {segment.number} is described as {found}")


def _check_report(kind: Kind, report: Dataset, segmentation: Dataset | None, findings: Findings) -> None:
    """Its groups against the findings of its kind: of segments, of the series, or of detections."""
    if kind == "sr" and segmentation is not None:
        _check_segment_groups(report, segmentation, findings)
    elif kind == "sr_regions" or not _of_the_series(findings):
        _check_detections(report, findings)
    else:
        _check_series(report, findings)


def _of_the_series(findings: Findings) -> bool:
    return bool(findings.classes) or any(not found.segments for found in findings.measurements)


def _check_segment_groups(report: Dataset, segmentation: Dataset, findings: Findings) -> None:
    measured: _Measured = defaultdict(list)
    judged: list[tuple[object, ...]] = []
    tracked: dict[tuple[int, ...], str] = {}
    for group in _groups(report):
        numbers = _referenced_segments(group, segmentation)
        for key, value in _measurements(group):
            measured[(numbers, *key)].append(value)
        judged.extend((numbers, *key) for key in _evaluations(group))
        tracked[numbers] = _tracking_uid(group)
    sets = dict.fromkeys(f.segments for f in findings.measurements if f.segments)
    numbered = [f for f in findings.measurements if f.segments]
    numbered += [changes.number(f) for numbers in sets for f in changes.of(findings, numbers)]
    _compare_measurements(measured, [(f.segments, f) for f in numbered])
    expected = [
        *((f.segments, _key(f.concept), _key(codes.PRESENCE[f.presence])) for f in findings.evaluations),
        *(
            (f.segments, _key(f.concept), _key(codes.NOT_A_NUMBER))
            for f in findings.measurements
            if f.segments and not math.isfinite(f.value)
        ),
        *((numbers, _key(a), _key(b)) for numbers in sets for a, b in changes.statements(findings, numbers)),
    ]
    if Counter(judged) != Counter(expected):
        raise wrong("SR", f"its evaluations are {judged}, not {expected}")
    for segment in findings.segments:
        if tracked.get((segment.number,)) != segment.tracking_uid:
            raise wrong("SR", f"segment {segment.number} has another tracking UID than in the findings")


def _check_series(report: Dataset, findings: Findings) -> None:
    measured: _Measured = defaultdict(list)
    judged: list[tuple[object, ...]] = []
    lesions = {lesion.tracking_uid for lesion in regions.lesions_of(findings)}
    for group in _groups(report):
        uid = _tracking_uid(group)
        over = uid if uid in lesions else "series"
        for key, value in _measurements(group):
            measured[(over, *key)].append(value)
        judged.extend((over, *key) for key in _evaluations(group))
    numbers = [(_over(f.lesion), f) for f in findings.measurements if not f.segments]
    numbers += [("series", changes.number(f)) for f in changes.of(findings, ())]
    numbers += [(_over(f.lesion), regions.probability(f)) for f in findings.classes if f.probability is not None]
    _compare_measurements(measured, numbers)
    expected: list[tuple[object, ...]] = [
        (_over(f.lesion), _key(f.concept), _key(codes.PRESENCE[f.presence])) for f in findings.classes
    ]
    expected += [("series", _key(a), _key(b)) for a, b in changes.statements(findings, ())]
    if Counter(judged) != Counter(expected):
        raise wrong("SR", f"its classes are {judged}, not {expected}")


def _over(lesion: Lesion | None) -> str:
    return lesion.tracking_uid if lesion else "series"


def _check_detections(report: Dataset, findings: Findings) -> None:
    """Each detection's numbers, and that its coordinates lie within it."""
    groups = {_tracking_uid(group): group for group in _groups(report)}
    if set(groups) != {found.tracking_uid for found in findings.detections}:
        raise wrong("SR", f"it holds {len(groups)} detections, not the {len(findings.detections)} that were found")
    for found in findings.detections:
        group = groups[found.tracking_uid]
        measured: _Measured = defaultdict(list)
        for key, value in _measurements(group):
            measured[(found.tracking_uid, *key)].append(value)
        _compare_measurements(measured, [(found.tracking_uid, number) for number in regions.numbers(found)])
        told = np.asarray([value for item in group if item.ValueType == "SCOORD3D" for value in item.GraphicData])
        told, points = told.reshape(-1, 3), np.asarray(found.points)
        low, high = points.min(axis=0) - _COORDINATE_TOLERANCE_MM, points.max(axis=0) + _COORDINATE_TOLERANCE_MM
        if not len(told) or (told < low).any() or (told > high).any():
            raise wrong("SR", f"{found.tracking_id} lies elsewhere than it was found")


def _tracking_uid(group: Sequence[Dataset]) -> str:
    return next(str(i.UID) for i in group if i.ValueType == "UIDREF" and _name(i) == ("112040", "DCM"))


def _compare_measurements(measured: _Measured, numbers: Iterable[tuple[object, Measurement]]) -> None:
    """What a report holds, against the findings with what each was taken over."""
    expected: _Measured = defaultdict(list)
    for over, found in numbers:
        if math.isfinite(found.value):
            derivation = _key(found.derivation) if found.derivation else None
            what = _key(found.concept), _key(found.unit), derivation
            expected[(over, *what)].append(found.value)
            for name, width in items.widths(found).items():
                expected[(over, what, _key(name))].append(width)
    for which in {*measured, *expected}:
        if not _same(measured[which], expected[which]):
            raise wrong("SR", f"its measurement {which} is {measured[which]}, not {expected[which]}")


def _same(found: list[float], expected: list[float]) -> bool:
    return len(found) == len(expected) and all(
        math.isclose(a, b, rel_tol=_VALUE_TOLERANCE, abs_tol=1e-12)
        for a, b in zip(sorted(found), sorted(expected), strict=True)
    )


def _groups(report: Dataset) -> Iterator[Sequence[Dataset]]:
    for container in report.ContentSequence:
        if container.ValueType == "CONTAINER" and _name(container) == ("126010", "DCM"):
            for item in container.ContentSequence:
                if item.ValueType == "CONTAINER" and _name(item) == ("125007", "DCM"):
                    yield list(item.ContentSequence)


def _referenced_segments(group: Sequence[Dataset], segmentation: Dataset) -> tuple[int, ...]:
    images = [item for item in group if item.ValueType == "IMAGE" and _name(item) == ("121191", "DCM")]
    if len(images) != 1:
        raise wrong("SR", f"a measurement group references {len(images)} segmentations")
    reference = images[0].ReferencedSOPSequence[0]
    if str(reference.ReferencedSOPInstanceUID) != str(segmentation.SOPInstanceUID):
        raise wrong("SR", "a measurement group references another segmentation")
    numbers = reference.ReferencedSegmentNumber
    return (int(numbers),) if isinstance(numbers, int) else tuple(int(number) for number in numbers)


def _measurements(group: Sequence[Dataset]) -> Iterator[tuple[tuple[object, ...], float]]:
    """Concept, unit and derivation of each number of a group, with its value."""
    for item in group:
        if item.ValueType == "NUM":
            derivations = [part for part in item.get("ContentSequence", ()) if _name(part) == ("121401", "DCM")]
            derivation = _concept(derivations[0].ConceptCodeSequence[0]) if derivations else None
            measured = item.MeasuredValueSequence[0]
            unit = _concept(measured.MeasurementUnitsCodeSequence[0])
            yield (_name(item), unit, derivation), float(measured.NumericValue)
            for part in item.get("ContentSequence", ()):
                if part.ValueType == "NUM" and _name(part) in _UNCERTAINTIES:  # beside the number it is of
                    width = part.MeasuredValueSequence[0]
                    own = _concept(width.MeasurementUnitsCodeSequence[0])
                    yield ((_name(item), own, derivation), _name(part)), float(width.NumericValue)


def _evaluations(group: Sequence[Dataset]) -> Iterator[tuple[_Concept, _Concept]]:
    """Concept and answer of each qualitative evaluation of a group."""
    others = {("276214006", "SCT"), ("121071", "DCM"), ("363698007", "SCT"), _key(codes.PRESENCE_OF_SEGMENT)}
    for item in group:
        if item.ValueType == "CODE" and item.RelationshipType == "CONTAINS" and _name(item) not in others:
            yield _name(item), _concept(item.ConceptCodeSequence[0])


def _name(item: Dataset) -> _Concept:
    return _concept(item.ConceptNameCodeSequence[0])


def _concept(item: Dataset) -> _Concept:
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
    return str(value), str(item.get("CodingSchemeDesignator", ""))


def _key(code: Code) -> _Concept:
    return code.value, code.scheme
