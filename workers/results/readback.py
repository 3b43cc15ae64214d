"""Do the bytes say what was found? Read again before anything is committed, by other code than wrote them.

The mask is put together from the bits of the file and the positions of its frames; the report's groups from its content
tree. Both are compared with the findings in memory.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset

from dicom_node.domain.finding import Code, Findings, Segment
from dicom_node.domain.identifiers import is_valid_uid
from dicom_node.errors import ResultError
from workers.results import codes, source
from workers.results.records import ResultObject

# Positions are written with 16 characters at most; a frame lies on its slice when it is off by less than this share
# of the step between slices.
_POSITION_TOLERANCE = 0.01
# Numeric Value (0040,A30A) has 16 characters, so ten digits at least.
_VALUE_TOLERANCE = 1e-9

# A concept as it is compared: value and scheme; meanings are words.
_Concept = tuple[str, str]
_Measured = dict[tuple[object, ...], list[float]]


def check(objects: Sequence[ResultObject], findings: Findings, sources: Sequence[Dataset] = ()) -> None:
    """Read the encoded objects again and compare them with the findings.

    With the headers of the source images, patient, study and order are compared with theirs, too.

    Raises:
        ResultError: names the object and what differs.
    """
    by_kind = {item.kind: item for item in objects}
    if len(by_kind) != len(objects) or set(by_kind) != {"seg", "sr"}:
        raise ResultError(f"one SEG and one SR are a result, not {[item.kind for item in objects]}")
    read = {kind: _read(item) for kind, item in by_kind.items()}
    _check_patient(read["seg"], read["sr"], sources)
    _check_segmentation(read["seg"], findings)
    _check_frame_numbers(read["seg"], findings, sources)
    _check_report(read["sr"], read["seg"], findings)


def mask(segmentation: Dataset, findings: Findings) -> npt.NDArray[np.uint8]:
    """The label map of a BINARY Segmentation on the grid of the findings: (slice, row, column), uint8.

    Raises:
        ResultError: a frame lies on no slice of the grid, on its wrong image, or segments overlap.
    """
    slices, rows, columns = findings.grid.shape
    if (segmentation.Rows, segmentation.Columns) != (rows, columns):
        raise _wrong("SEG", f"its frames are {segmentation.Rows} x {segmentation.Columns}, not {rows} x {columns}")
    frames = int(segmentation.NumberOfFrames)
    size = rows * columns
    bits = np.unpackbits(np.frombuffer(segmentation.PixelData, np.uint8), count=frames * size, bitorder="little")
    planes = bits.reshape(frames, rows, columns)
    label_map = np.zeros((slices, rows, columns), np.uint8)
    for plane, (number, index) in zip(planes, _frames(segmentation, findings), strict=True):
        inside = plane.view(bool)
        if label_map[index][inside].any():
            raise _wrong("SEG", f"segment {number} overlaps another one on slice {index}")
        label_map[index][inside] = number
    return label_map


def _read(item: ResultObject) -> Dataset:
    dataset = pydicom.dcmread(BytesIO(item.data))
    stated = {
        "SOPClassUID": item.sop_class_uid,
        "SOPInstanceUID": item.sop_instance_uid,
        "SeriesInstanceUID": item.series_instance_uid,
    }
    for keyword, value in stated.items():
        if str(dataset.get(keyword, "")) != value or not is_valid_uid(value):
            raise _wrong(item.kind.upper(), f"{keyword} is {dataset.get(keyword)}, not {value}")
    if str(dataset.file_meta.TransferSyntaxUID) != item.transfer_syntax_uid:
        raise _wrong(item.kind.upper(), f"its transfer syntax is {dataset.file_meta.TransferSyntaxUID}")
    return dataset


def _check_patient(segmentation: Dataset, report: Dataset, sources: Sequence[Dataset]) -> None:
    expected = source.read(sources[:1]).patient_and_study if sources else segmentation
    for which, dataset in (("SEG", segmentation), ("SR", report)):
        for keyword in ("PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID"):
            # Spaces at the end only pad a value to even length.
            if str(dataset.get(keyword) or "").rstrip() != str(expected.get(keyword) or "").rstrip():
                raise _wrong(which, f"its {keyword} is not that of the {'images' if sources else 'SEG'}")
    if segmentation.SeriesInstanceUID == report.SeriesInstanceUID:
        raise _wrong("SR", "it stands in the series of the SEG")


def _check_segmentation(segmentation: Dataset, findings: Findings) -> None:
    described = {int(item.SegmentNumber): item for item in segmentation.SegmentSequence}
    if sorted(described) != sorted(segment.number for segment in findings.segments):
        raise _wrong("SEG", f"it describes the segments {sorted(described)}")
    for segment in findings.segments:
        _check_segment(described[segment.number], segment)
    if not np.array_equal(mask(segmentation, findings), findings.label_map):
        raise _wrong("SEG", "its mask is not the one that was found")
    listed = {
        str(image.ReferencedSOPInstanceUID)
        for series in segmentation.ReferencedSeriesSequence
        for image in series.ReferencedInstanceSequence
    }
    if listed != set(findings.frames):
        raise _wrong("SEG", "it references other images than those of the findings")


def _check_frame_numbers(segmentation: Dataset, findings: Findings, sources: Sequence[Dataset]) -> None:
    """Of multi-frame sources each frame must name the frame it lies on."""
    groups = segmentation.PerFrameFunctionalGroupsSequence
    for group, (_, index) in zip(groups, _frames(segmentation, findings), strict=True):
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = sources[index].get("ReferencedFrameNumber") if sources else reference.get("ReferencedFrameNumber")
        if reference.get("ReferencedFrameNumber") != number:
            raise _wrong("SEG", f"the frame on slice {index} references frame {reference.get('ReferencedFrameNumber')}")


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
        raise _wrong("SEG", f"segment {segment.number} is described as {found}")


def _frames(segmentation: Dataset, findings: Findings) -> Iterator[tuple[int, int]]:
    """Segment number and slice index of each frame."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    groups = segmentation.PerFrameFunctionalGroupsSequence
    indices = findings.grid.lps_to_index([_position(group, shared, findings) for group in groups])
    for group, at in zip(groups, indices, strict=True):
        index = round(float(at[0]))
        if not 0 <= index < len(findings.frames) or np.abs(at - (index, 0, 0)).max() > _POSITION_TOLERANCE:
            raise _wrong("SEG", f"a frame lies at (slice, row, column) {at.round(3).tolist()} of the grid")
        image = str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        if image != findings.frames[index]:
            raise _wrong("SEG", f"the frame on slice {index} references image {image}")
        identification = group if "SegmentIdentificationSequence" in group else shared
        yield int(identification.SegmentIdentificationSequence[0].ReferencedSegmentNumber), index


def _position(group: Dataset, shared: Dataset, findings: Findings) -> Sequence[float]:
    """Where a frame lies, LPS mm; the one slice of a projection, which has no position, at its grid's origin."""
    holder = group if "PlanePositionSequence" in group else shared
    if "PlanePositionSequence" not in holder and findings.grid.shape[0] == 1:
        return findings.grid.origin
    return [float(v) for v in holder.PlanePositionSequence[0].ImagePositionPatient]


def _check_report(report: Dataset, segmentation: Dataset, findings: Findings) -> None:
    everything = tuple(segment.number for segment in findings.segments)
    measured: _Measured = defaultdict(list)
    judged: list[tuple[object, ...]] = []
    tracked: dict[tuple[int, ...], str] = {}
    for group in _groups(report):
        numbers = _referenced_segments(group, segmentation)
        for key, value in _measurements(group):
            measured[(numbers, *key)].append(value)
        judged.extend((numbers, *key) for key in _evaluations(group))
        tracked[numbers] = next(str(i.UID) for i in group if i.ValueType == "UIDREF" and _name(i) == ("112040", "DCM"))
    _compare_measurements(measured, findings, everything)
    expected = [
        *((f.segments or everything, _key(f.concept), _key(codes.PRESENCE[f.presence])) for f in findings.evaluations),
        *(
            (f.segments or everything, _key(f.concept), _key(codes.NOT_A_NUMBER))
            for f in findings.measurements
            if not math.isfinite(f.value)
        ),
    ]
    if Counter(judged) != Counter(expected):
        raise _wrong("SR", f"its evaluations are {judged}, not {expected}")
    for segment in findings.segments:
        if tracked.get((segment.number,)) != segment.tracking_uid:
            raise _wrong("SR", f"segment {segment.number} has another tracking UID than in the findings")


def _compare_measurements(measured: _Measured, findings: Findings, everything: tuple[int, ...]) -> None:
    expected: _Measured = defaultdict(list)
    for found in findings.measurements:
        if math.isfinite(found.value):
            derivation = _key(found.derivation) if found.derivation else None
            key = (found.segments or everything, _key(found.concept), _key(found.unit), derivation)
            expected[key].append(found.value)
    for which in {*measured, *expected}:
        if not _same(measured[which], expected[which]):
            raise _wrong("SR", f"its measurement {which} is {measured[which]}, not {expected[which]}")


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
        raise _wrong("SR", f"a measurement group references {len(images)} segmentations")
    reference = images[0].ReferencedSOPSequence[0]
    if str(reference.ReferencedSOPInstanceUID) != str(segmentation.SOPInstanceUID):
        raise _wrong("SR", "a measurement group references another segmentation")
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


def _wrong(which: str, what: str) -> ResultError:
    return ResultError(
        f"the {which} does not read back as what was found: {what}",
        remedy="this is a fault of the software; keep the study and report it",
    )
