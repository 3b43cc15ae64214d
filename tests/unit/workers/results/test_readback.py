from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from result_cases import (
    AGE,
    ANATOMY,
    CLASSES,
    CONTEXT,
    DETECTIONS,
    EMPHYSEMA,
    LUNG,
    WITHOUT_SEGMENTS,
    contract,
    findings_on,
    series,
)

from dicom_node.domain.finding import Evaluation, Findings, Presence, Uncertainty
from dicom_node.errors import ResultError
from workers.results.encode import encode
from workers.results.readback import check
from workers.results.records import ResultObject

Change = Callable[[Dataset], None]


@pytest.fixture
def findings() -> Findings:
    return findings_on(series())


@pytest.fixture
def objects(findings: Findings) -> tuple[ResultObject, ...]:
    return encode(findings, contract(), series(), CONTEXT)


def changed(item: ResultObject, change: Change) -> ResultObject:
    dataset = pydicom.dcmread(BytesIO(item.data))
    change(dataset)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return replace(item, data=buffer.getvalue())


def test_what_was_written_passes(objects: tuple[ResultObject, ...], findings: Findings) -> None:
    check(objects, findings)


def one_bit(dataset: Dataset) -> None:
    pixels = bytearray(dataset.PixelData)
    pixels[3] ^= 4
    dataset.PixelData = bytes(pixels)


def other_slice(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 0]


def other_image(dataset: Dataset) -> None:
    group = dataset.PerFrameFunctionalGroupsSequence[0]
    group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.826.0.1.3680043.8.498.7.1"


def swapped_sides(dataset: Dataset) -> None:
    first, second = dataset.SegmentSequence
    first.SegmentedPropertyTypeCodeSequence, second.SegmentedPropertyTypeCodeSequence = (
        second.SegmentedPropertyTypeCodeSequence,
        first.SegmentedPropertyTypeCodeSequence,
    )


def other_tracking(dataset: Dataset) -> None:
    dataset.SegmentSequence[0].TrackingUID = "2.25.1"


def missing_image(dataset: Dataset) -> None:
    del dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]


def swapped_segments(dataset: Dataset) -> None:
    for group in dataset.PerFrameFunctionalGroupsSequence:
        identification = group.SegmentIdentificationSequence[0]
        identification.ReferencedSegmentNumber = 3 - identification.ReferencedSegmentNumber


def other_instance(dataset: Dataset) -> None:
    dataset.SOPInstanceUID = "2.25.2"


@pytest.mark.parametrize(
    "change",
    [
        one_bit,
        other_slice,
        other_image,
        swapped_sides,
        other_tracking,
        missing_image,
        swapped_segments,
        other_instance,
    ],
)
def test_a_changed_segmentation_is_found_out(
    objects: tuple[ResultObject, ...], findings: Findings, change: Change
) -> None:
    with pytest.raises(ResultError, match="SEG"):
        check((changed(objects[0], change), objects[1]), findings)


def group(dataset: Dataset, index: int) -> Dataset:
    (measurements,) = [
        item for item in dataset.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    ]
    groups = [item for item in measurements.ContentSequence if item.ValueType == "CONTAINER"]
    return groups[index]  # type: ignore[no-any-return]


def first(dataset: Dataset, index: int, value_type: str, concept: str) -> Dataset:
    return next(
        item
        for item in group(dataset, index).ContentSequence
        if item.ValueType == value_type and item.ConceptNameCodeSequence[0].CodeValue == concept
    )


def other_value(dataset: Dataset) -> None:
    first(dataset, 0, "NUM", "118565006").MeasuredValueSequence[0].NumericValue = "1234.5678"


def other_unit(dataset: Dataset) -> None:
    measured = first(dataset, 0, "NUM", "118565006").MeasuredValueSequence[0]
    measured.MeasurementUnitsCodeSequence[0].CodeValue = "l"


def other_answer(dataset: Dataset) -> None:
    first(dataset, 2, "CODE", "87433001").ConceptCodeSequence[0].CodeValue = "52101004"


def other_segment(dataset: Dataset) -> None:
    first(dataset, 0, "IMAGE", "121191").ReferencedSOPSequence[0].ReferencedSegmentNumber = 2


def other_segmentation(dataset: Dataset) -> None:
    first(dataset, 0, "IMAGE", "121191").ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "2.25.3"


def other_track(dataset: Dataset) -> None:
    first(dataset, 0, "UIDREF", "112040").UID = "2.25.4"


def lost_number(dataset: Dataset) -> None:
    content = group(dataset, 1).ContentSequence
    del content[next(index for index, item in enumerate(content) if item.ValueType == "NUM")]


def other_patient(dataset: Dataset) -> None:
    dataset.PatientID = "SYN-2"


@pytest.mark.parametrize(
    "change",
    [
        other_value,
        other_unit,
        other_answer,
        other_segment,
        other_segmentation,
        other_track,
        lost_number,
        other_patient,
        other_instance,
    ],
)
def test_a_changed_report_is_found_out(objects: tuple[ResultObject, ...], findings: Findings, change: Change) -> None:
    with pytest.raises(ResultError, match="SR"):
        check((objects[0], changed(objects[1], change)), findings)


def test_other_findings_are_found_out(objects: tuple[ResultObject, ...], findings: Findings) -> None:
    images = series()
    one_more = findings.layers[0].copy()
    one_more[0, 0, 0] = 2
    present = Evaluation("emphysema", EMPHYSEMA, Presence.PRESENT, LUNG, (1, 2), "")
    segments = (replace(findings.segments[0], type=ANATOMY), findings.segments[1])
    for other in (
        findings_on(images, one_more),
        findings_on(images, np.zeros_like(one_more)),
        findings_on(images, measurements=findings.measurements[1:]),
        findings_on(images, evaluations=(present,)),
        findings_on(images, segments=segments),
    ):
        with pytest.raises(ResultError):
            check(objects, other)


def test_a_result_of_another_patient_is_found_out(objects: tuple[ResultObject, ...], findings: Findings) -> None:
    check(objects, findings, series())
    with pytest.raises(ResultError, match="PatientName is not that of the images"):
        check(objects, findings, series(PatientName="Somebody^Else"))


def test_half_a_result_is_none(objects: tuple[ResultObject, ...], findings: Findings) -> None:
    with pytest.raises(ResultError, match="these findings make seg, sr"):
        check(objects[:1], findings)


@pytest.mark.parametrize("which", WITHOUT_SEGMENTS)
def test_a_report_without_segments_passes_and_another_does_not(which: str) -> None:
    found = findings_on(series(6), layers=(), segments=(), evaluations=(), **WITHOUT_SEGMENTS[which])
    objects = encode(found, contract(), series(6), CONTEXT)
    check(objects, found, series(6))

    for changes in (
        {"classes": CLASSES[1:], "detections": (), "measurements": ()},
        {"classes": (), "detections": DETECTIONS[:1], "measurements": ()},
        {"classes": (), "detections": (), "measurements": (replace(AGE, value=61.25),)},
    ):
        with pytest.raises(ResultError, match="SR"):
            check(objects, replace(found, **changes), series(6))  # type: ignore[arg-type]


def test_a_detection_that_lies_elsewhere_is_found_out() -> None:
    found = findings_on(series(6), layers=(), segments=(), evaluations=(), **WITHOUT_SEGMENTS["detections"])
    objects = encode(found, contract(), series(6), CONTEXT)
    moved = replace(DETECTIONS[0], points=((-29.25, 22.5, -94.0),))

    with pytest.raises(ResultError, match="nodule 1 lies elsewhere"):
        check(objects, replace(found, detections=(moved, DETECTIONS[1])), series(6))


def test_the_interval_of_a_number_is_written_in_its_unit_and_compared() -> None:
    told = Uncertainty(12.5, 1200.25, 1260.0, 0.9, "Standard deviation over 12 views")
    images = series()
    volume, *rest = findings_on(images).measurements
    findings = findings_on(images, measurements=(replace(volume, uncertainty=told), *rest))
    seg, sr = encode(findings, contract(), images, CONTEXT)
    check((seg, sr), findings, images)

    number = first(pydicom.dcmread(BytesIO(sr.data)), 0, "NUM", "118565006")
    properties = {
        item.ConceptNameCodeSequence[0].CodeValue: item.MeasuredValueSequence[0]
        for item in number.ContentSequence
        if item.ValueType == "NUM"
    }
    assert float(properties["371886008"].NumericValue) == pytest.approx(told.high - volume.value)
    assert float(properties["371885007"].NumericValue) == pytest.approx(volume.value - told.low)
    assert {item.MeasurementUnitsCodeSequence[0].CodeValue for item in properties.values()} == {"ml"}

    with pytest.raises(ResultError, match="its measurement"):
        check((seg, sr), findings_on(images), images)
    with pytest.raises(ResultError, match="its measurement"):
        wider = replace(volume, uncertainty=replace(told, high=1300.0))
        check((seg, sr), findings_on(images, measurements=(wider, *rest)), images)
