"""Maps of numbers as Parametric Maps: in place, named by the report, and found out when changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from result_cases import AGE, CLASSES, CONTEXT, ORIENTATIONS, contract, findings_on, series

from dicom_node.domain.finding import Code, Findings, ParameterMap
from dicom_node.errors import ModelOutputError, ResultError
from workers.results.encode import encode
from workers.results.readback import check
from workers.results.records import ResultObject

QUANTITY = Code("OCCLUSION", "99DCMNODE", "Loss of the answer by occlusion")
NO_UNITS = Code("1", "UCUM", "no units")


def explained(images: list[Dataset], name: str = "quality", **changes: Any) -> Findings:
    shape = (len(images), int(images[0].Rows), int(images[0].Columns))
    values = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    made = ParameterMap(name, "motion", QUANTITY, NO_UNITS, values, "How much lower the answer is.")
    parts: dict[str, Any] = {
        "layers": (),
        "segments": (),
        "evaluations": (),
        "measurements": (),
        "classes": CLASSES[:1],
    }
    return findings_on(images, **{**parts, "explanation": made, **changes})


def projection() -> list[Dataset]:
    (image,) = series(1)
    for keyword in ("FrameOfReferenceUID", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        delattr(image, keyword)
    image.Modality, image.SOPClassUID = "DX", "1.2.840.10008.5.1.4.1.1.1.1"
    return [image]


def opened(item: ResultObject) -> Dataset:
    return pydicom.dcmread(BytesIO(item.data))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_it_lies_where_the_images_lie_and_the_report_names_it(orientation: str) -> None:
    images = series(orientation=ORIENTATIONS[orientation])
    findings = explained(images)
    pm, sr = encode(findings, contract(), images, CONTEXT)
    check((pm, sr), findings, images)
    assert (pm.kind, sr.kind) == ("pm", "sr")
    assert encode(findings, contract(), images, CONTEXT) == (pm, sr)
    dataset, report = opened(pm), opened(sr)
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.30"
    values = findings.explanation and findings.explanation.values
    assert np.array_equal(dataset.pixel_array, values[::-1])  # type: ignore[index]
    listed = [
        str(instance.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for one in study.ReferencedSeriesSequence
        for instance in one.ReferencedSOPSequence
    ]
    assert pm.sop_instance_uid in listed


def test_highdicom_reads_it_and_knows_what_its_numbers_are() -> None:
    images = series()
    findings = explained(images)
    pm, _ = encode(findings, contract(), images, CONTEXT)
    read = hd.pm.ParametricMap.from_dataset(opened(pm))
    mapping = read.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "OCCLUSION"
    volume = read.get_volume()
    assert findings.explanation is not None
    corner = findings.grid.index_to_lps(np.zeros((1, 3)))[0]
    index = np.rint(volume.map_reference_to_indices(corner[None])).astype(int)[0]
    assert volume.array[tuple(index)] == findings.explanation.values[0, 0, 0]


def test_a_projection_has_one_too() -> None:
    placed = series(1)
    findings = explained(placed)
    images = projection()
    objects = encode(findings, contract(), images, CONTEXT)
    check(objects, findings, images)


def test_that_of_a_value_is_named_beside_it() -> None:
    images = series()
    findings = explained(images, "age", classes=(), measurements=(AGE,))
    check(encode(findings, contract(), images, CONTEXT), findings, images)


def test_it_stands_beside_segments() -> None:
    images = series()
    whole = findings_on(images)
    parts = {name: getattr(whole, name) for name in ("layers", "segments", "measurements", "evaluations")}
    findings = explained(images, **parts)
    objects = encode(findings, contract(), images, CONTEXT)
    check(objects, findings, images)
    assert [item.kind for item in objects] == ["seg", "pm", "sr", "sr_series"]


def one_bit(dataset: Dataset) -> None:
    data = bytearray(dataset.FloatPixelData)
    data[5] ^= 1
    dataset.FloatPixelData = bytes(data)


def cut_short(dataset: Dataset) -> None:
    dataset.FloatPixelData = dataset.FloatPixelData[:-4]


def other_unit(dataset: Dataset) -> None:
    mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    mapping.MeasurementUnitsCodeSequence[0].CodeValue = "mm"


def other_slope(dataset: Dataset) -> None:
    dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0].RealWorldValueSlope = 2.0


def other_slice(dataset: Dataset) -> None:
    first, second, *_ = dataset.PerFrameFunctionalGroupsSequence
    first.PlanePositionSequence, second.PlanePositionSequence = (
        second.PlanePositionSequence,
        first.PlanePositionSequence,
    )


def missing_image(dataset: Dataset) -> None:
    del dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]


@pytest.mark.parametrize("change", [one_bit, cut_short, other_unit, other_slope, other_slice, missing_image])
def test_a_changed_one_is_found_out(change: Callable[[Dataset], None]) -> None:
    images = series()
    findings = explained(images)
    pm, sr = encode(findings, contract(), images, CONTEXT)
    dataset = opened(pm)
    change(dataset)
    buffer = BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(ResultError, match="the PM does not read back"):
        check((replace(pm, data=buffer.getvalue()), sr), findings, images)


def test_a_report_that_does_not_name_it_is_found_out() -> None:
    images = series()
    findings = explained(images)
    pm, _ = encode(findings, contract(), images, CONTEXT)
    (without,) = encode(explained(images, explanation=None), contract(), images, CONTEXT)
    with pytest.raises(ResultError, match=r"it names \[\] as maps"):
        check((pm, without), findings, images)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_finding_holds_what_is_no_number(value: float) -> None:
    images = series()
    made = explained(images).explanation
    assert made is not None
    made.values[1, 2, 3] = value
    with pytest.raises(ModelOutputError, match="NaN or infinite"):
        explained(images, explanation=made)
