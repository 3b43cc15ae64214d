from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicom_node.domain.study import SeriesView
from dicom_node.errors import RuleError
from dicom_node.rules.attributes import LONGEST_SAMPLE, Kind, Place, Unknown, attribute

PLACE = Place(Path("dicom-node.toml"), 7, "rules[1].all[1]")


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("Modality", Kind.TEXT, 1),
        ("PatientName", Kind.TEXT, 1),
        ("StudyDate", Kind.TEXT, 1),
        ("SliceThickness", Kind.NUMBER, 1),
        ("SeriesNumber", Kind.NUMBER, 1),
        ("SmallestImagePixelValue", Kind.NUMBER, 1),
        ("PixelSpacing", Kind.NUMBERS, 2),
        ("ImageOrientationPatient", Kind.NUMBERS, 6),
        ("ImageType", Kind.TEXTS, LONGEST_SAMPLE),
        ("ConvolutionKernel", Kind.TEXTS, LONGEST_SAMPLE),
        ("instances", Kind.NUMBER, 1),
        ("calling_ae", Kind.TEXT, 1),
    ],
)
def test_kind_follows_from_the_dictionary(name: str, kind: Kind, count: int) -> None:
    found = attribute(name, PLACE)
    assert (found.kind, found.count) == (kind, count)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("BodyPartExamind", "did you mean BodyPartExamined?"),
        ("modality", "did you mean Modality?"),
        ("instance", "did you mean instances?"),
        ("Zzzzzzzzzzzzz", "there is no DICOM keyword 'Zzzzzzzzzzzzz'"),
        ("ReferencedImageSequence", "holds a sequence"),
        ("PixelData", "cannot be used in a condition"),
    ],
)
def test_unusable_names_are_refused_with_place(name: str, part: str) -> None:
    with pytest.raises(RuleError) as caught:
        attribute(name, PLACE)
    assert str(caught.value).startswith("dicom-node.toml:7: rules[1].all[1]: ")
    assert part in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("Modality", "CT ", "CT"),
        ("Modality", "CT\0", "CT"),
        ("Modality", ["CT"], "CT"),
        ("Modality", "", Unknown.ABSENT),
        ("Modality", "  ", Unknown.ABSENT),
        ("Modality", [], Unknown.ABSENT),
        ("Modality", ["CT", "MR"], Unknown.MALFORMED),
        ("Modality", 5.0, Unknown.MALFORMED),
        ("Modality", "\ud83d", Unknown.MALFORMED),
        ("PatientName", "山田^太郎", "山田^太郎"),
        ("SliceThickness", 5, 5.0),
        ("SliceThickness", [5.0], 5.0),
        ("SliceThickness", "5mm", Unknown.MALFORMED),
        ("SliceThickness", True, Unknown.MALFORMED),
        ("SliceThickness", math.nan, Unknown.MALFORMED),
        ("SliceThickness", 10**400, Unknown.MALFORMED),
        ("SliceThickness", {"a": 1}, Unknown.MALFORMED),
        ("PixelSpacing", [0.5, 0.5], (0.5, 0.5)),
        ("PixelSpacing", (0.5, None), Unknown.MALFORMED),
        ("PixelSpacing", [0.5, "x"], Unknown.MALFORMED),
        ("ImageType", "ORIGINAL", ("ORIGINAL",)),
        ("ImageType", ["ORIGINAL ", "", "AXIAL"], ("ORIGINAL", "", "AXIAL")),
        ("ImageType", ["", " "], Unknown.ABSENT),
    ],
)
def test_values_are_read_tolerantly(make_series: Callable[..., SeriesView], name: str, value: Any, read: Any) -> None:
    assert attribute(name, PLACE).read(make_series(**{name: value})) == read


def test_what_differs_within_a_series_varies(make_series: Callable[..., SeriesView]) -> None:
    assert attribute("KVP", PLACE).read(make_series(varying=("KVP",))) is Unknown.VARIES
    assert attribute("KVP", PLACE).read(make_series()) is Unknown.ABSENT


def test_own_names_come_from_the_series_itself(make_series: Callable[..., SeriesView]) -> None:
    series = make_series(instances=12)
    names = ("instances", "peer", "called_ae", "calling_ae")
    assert [attribute(name, PLACE).read(series) for name in names] == [12.0, "10.0.0.5", "DICOMNODE", "PACS"]
