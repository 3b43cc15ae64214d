"""Key objects, presentation state and summary beside Segmentation and reports."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from result_cases import CONTEXT, DETECTIONS, WITHOUT_SEGMENTS, contract, findings_on, series

from dicom_node.domain.finding import Findings
from dicom_node.domain.profile import Companion
from dicom_node.errors import ResultError
from workers.results import picture, summary
from workers.results.encode import encode
from workers.results.key_images import MOST, key_images
from workers.results.readback import check
from workers.results.records import ResultObject

ALL = tuple(Companion)
GREY = {"PhotometricInterpretation": "MONOCHROME2", "WindowCenter": 0, "WindowWidth": 200}


def made(
    findings: Findings, images: list[Dataset], companions: Collection[Companion] = ALL
) -> tuple[ResultObject, ...]:
    pixels = np.arange(np.prod(findings.grid.shape), dtype=np.float32).reshape(findings.grid.shape) - 240
    objects = encode(findings, contract(), images, CONTEXT, None, companions, pixels)
    check(objects, findings, images, companions)
    return objects


def of(kind: str, objects: tuple[ResultObject, ...]) -> Dataset:
    return pydicom.dcmread(BytesIO(next(each.data for each in objects if each.kind == kind)))


def changed(kind: str, objects: tuple[ResultObject, ...], change: Any) -> tuple[ResultObject, ...]:
    """The objects, one of them with another content."""
    dataset = of(kind, objects)
    change(dataset)
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return tuple(replace(each, data=buffer.getvalue()) if each.kind == kind else each for each in objects)


def test_the_same_findings_give_the_same_bytes_and_nothing_changes_what_was_there_without_them() -> None:
    images = series(**GREY)
    findings = replace(findings_on(images), detections=DETECTIONS)
    objects = made(findings, images)
    assert objects == made(findings, images)
    assert [each.kind for each in objects] == ["seg", "sr", "sr_regions", "ko", "pr", "sc"]
    assert len({each.sop_instance_uid for each in objects}) == 6
    assert len({each.series_instance_uid for each in objects}) == 5  # the reports share one
    (bare,) = (each for each in made(findings, images, ()) if each.kind == "seg")
    assert bare == objects[0]


def test_key_objects_point_at_the_largest_area_and_the_centre_of_detections_and_the_report_lists_them() -> None:
    images = series(**GREY)
    findings = replace(findings_on(images), detections=DETECTIONS)
    objects = made(findings, images)
    document = of("ko", objects)
    named = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in document.ContentSequence
        if item.ValueType == "IMAGE"
    ]
    # Both lungs have one pixel or two more on the last slice; the detections lie 5 and 5.5 mm from the first one.
    assert named == [findings.frames[2], findings.frames[3]]
    report = of("sr", objects)
    evidence = {
        str(each.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for listed in study.ReferencedSeriesSequence
        for each in listed.ReferencedSOPSequence
    }
    assert document.SOPInstanceUID in evidence


def test_no_more_images_are_pointed_at_than_somebody_would_look_at() -> None:
    images = series(MOST + 6)
    label_map = np.zeros((MOST + 6, 10, 12), np.uint8)
    label_map[0, :2] = 1
    findings = findings_on(images, label_map)
    many = tuple(
        replace(DETECTIONS[0], number=n + 1, points=((-29.0, 22.0, -100 + 2.5 * n),), tracking_uid=f"2.25.{n + 1}")
        for n in range(MOST + 5)
    )
    assert [key.slice for key in key_images(replace(findings, detections=many))] == list(range(MOST))


def test_where_nothing_is_to_be_seen_nothing_is_pointed_at() -> None:
    images = series(**GREY)
    findings = findings_on(images, np.zeros((4, 10, 12), np.uint8))
    assert [each.kind for each in made(findings, images)] == ["seg", "sr", "sc"]


def test_graphics_over_colours_are_not_told_by_a_state_of_greys() -> None:
    images = series(PhotometricInterpretation="RGB", SamplesPerPixel=3)
    assert "pr" not in {each.kind for each in made(findings_on(images), images)}


@pytest.mark.parametrize("case", WITHOUT_SEGMENTS)
def test_findings_without_segments_have_a_summary(case: str) -> None:
    images = series(**GREY)
    findings = findings_on(images, layers=(), segments=(), evaluations=(), **WITHOUT_SEGMENTS[case])
    kinds = [each.kind for each in made(findings, images)]
    assert kinds == (["sr", "ko", "pr", "sc"] if case == "detections" else ["sr", "sc"])


def test_no_word_of_the_patient_is_written_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    images = series(**GREY, PatientName="Unmistakable^Name", PatientID="ID-4711", AccessionNumber="ACC-4712")
    written: list[str] = []
    page = picture.page

    def heard(title: str, subtitle: str, shown: Any, caption: str, *columns: Any) -> Any:
        written.extend([title, subtitle, caption, *(line.words for column in columns for line in column)])
        return page(title, subtitle, shown, caption, *columns)

    monkeypatch.setattr(picture, "page", heard)
    capture = of("sc", made(findings_on(images), images))
    words = "\n".join(written)
    assert summary.TITLE in words
    assert "Volume: 1235 ml" in words
    assert "Pulmonary emphysema (Right lung, Left lung): not evaluated" in words
    assert "not a cleared medical device" in words
    assert not [told for told in ("Unmistakable", "4711", "4712", "1950", "20260304") if told in words]
    assert (capture.BurnedInAnnotation, capture.Modality, capture.ConversionType) == ("NO", "OT", "WSD")


def test_the_page_shows_the_outline_in_the_colour_of_its_segment() -> None:
    images = series(**GREY)
    findings = findings_on(images)
    shown = np.asarray(picture.slice_picture(findings, np.zeros((10, 12)), 2, images[2]))
    # Segment 1 begins at column 1 and row 1 of pixels that are 0.75 mm high and 0.5 mm wide.
    height, width = shown.shape[:2]
    assert (height, width) == (560, 448)
    x, y = round(1 * width / 12), round(3 * height / 10)
    assert (224, 97, 76) in {tuple(pixel) for pixel in shown[y, x - 1 : x + 2].tolist()}


def test_letters_that_the_font_lacks_are_spelt_otherwise() -> None:
    assert picture.plain("Größe 5 µm ≥ 3 mm² ± 1°, 日") == "Große 5 um >= 3 mm2 ± 1°, ?".replace("ß", "?")


@pytest.mark.parametrize(
    ("kind", "change", "what"),
    [
        ("ko", lambda d: d.ContentSequence.pop(), "images"),
        (
            "pr",
            lambda d: d.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicData.__setitem__(0, 9),
            "areas",
        ),
        ("pr", lambda d: d.GraphicAnnotationSequence.pop(), "places|areas"),
        ("sc", lambda d: setattr(d, "PixelData", bytes(len(d.PixelData))), "pixels"),
        ("sc", lambda d: setattr(d, "BurnedInAnnotation", "YES"), "patient"),
    ],
)
def test_what_differs_from_the_findings_is_found_before_it_is_sent(kind: str, change: Any, what: str) -> None:
    images = series(**GREY)
    findings = replace(findings_on(images), detections=DETECTIONS[:1])
    objects = changed(kind, made(findings, images), change)
    with pytest.raises(ResultError, match=what):
        check(objects, findings, images, ALL)


def test_frames_of_one_object_are_named_by_their_numbers() -> None:
    images = series(**GREY)
    for number, image in enumerate(images, start=1):
        image.SOPInstanceUID, image.ReferencedFrameNumber = "1.2.826.0.1.3680043.8.498.77", number
    findings = replace(findings_on(images), detections=DETECTIONS)
    document = of("ko", made(findings, images))
    (item,) = (each for each in document.ContentSequence if each.ValueType == "IMAGE")
    assert list(item.ReferencedSOPSequence[0].ReferencedFrameNumber) == [3, 4]


def test_two_models_on_one_study_share_no_object_and_no_series() -> None:
    images = series(**GREY)
    findings = findings_on(images)
    first = made(findings, images)
    other = replace(CONTEXT, job_key="fedcba9876543210" * 4)
    second = encode(findings, contract(name="another"), images, other, None, ALL, np.zeros(findings.grid.shape))
    numbers = []
    for objects in (first, second):
        check(objects, findings, images, ALL)
        numbers.append({int(of(each.kind, objects).SeriesNumber) for each in objects})
    assert not {each.sop_instance_uid for each in first} & {each.sop_instance_uid for each in second}
    assert not {each.series_instance_uid for each in first} & {each.series_instance_uid for each in second}
    assert not numbers[0] & numbers[1]
    assert len(numbers[0]) == 5
