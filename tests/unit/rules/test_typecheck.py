"""Conditions that are refused when they are loaded: the message names the part, the remedy what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.errors import RuleError
from dicom_node.rules.attributes import Place
from dicom_node.rules.language import compile_condition

PLACE = Place(Path("dicom-node.toml"), 12, "rules[1].all[2]")

REFUSED = [
    ('SliceThickness == "5"', 'SliceThickness (a number, VR DS) cannot be compared with "5" (text)', "without quotes"),
    ("Modality > 3", "Modality (text, VR CS) cannot be compared with 3 (a number)", "text in quotes"),
    ("Modality != 3", "Modality (text, VR CS) cannot be compared with 3 (a number)", "text in quotes"),
    ('SliceThickness in ["5"]', 'cannot be looked for in ["5"] (a list of texts)', "a list of its own type"),
    ('Modality in "CT"', 'cannot be looked for in "CT" (text)', '["CT", "PT"]'),
    ('Modality in ["CT", 3]', '["CT", 3]: a list needs values, all numbers or all texts', "write"),
    ("Modality in []", "a list needs values", "write"),
    ('ImageType == "PRIMARY"', "ImageType (a list of texts, VR CS)", '"PRIMARY" in ImageType'),
    ('"B30f" == ConvolutionKernel', "ConvolutionKernel (a list of texts, VR SH)", '"B30f" in ConvolutionKernel'),
    ("ImageType > 3", "cannot be compared with 3", "PixelSpacing[0]"),
    ("ImageType < ImageType", "cannot be compared", "PixelSpacing[0]"),
    ("PixelSpacing[2] < 1", "has 2 values at most", ""),
    ("PixelSpacing[0.5] < 1", "an index is a whole number", ""),
    ("Modality[0] == 'C'", "takes no index", ""),
    ('ImageType.contains("C")', "ImageType is a list of texts", ".exists(x, x.contains(…))"),
    ("SliceThickness.size() == 1", "size() is asked of a text", ""),
    ("Modality.startsWith(3)", "startsWith() takes a text; 3 is not one", ""),
    ("Modality.startsWith()", "startsWith() is asked of a text, with one text", ""),
    ('Modality.matches("(")', "not a regular expression (RE2): missing )", ""),
    ("Modality.matches(BodyPartExamined)", "matches() takes a pattern in quotes", ""),
    ('Modality.upper() == "CT"', "there is no function upper()", "upperAscii"),
    ("size(SliceThickness) > 1", "size() takes one list or one text", ""),
    ("lower(Modality) == 'ct'", "there is no function lower()", "known: has, size"),
    ("has(3)", "has() takes one DICOM keyword", "has(SliceThickness)"),
    ("has()", "has() takes one DICOM keyword", "has(SliceThickness)"),
    ("has(Bogus)", "there is no DICOM keyword 'Bogus'", "PS3.6"),
    ("_has_Modality", "there is no DICOM keyword '_has_Modality'", "PS3.6"),
    ("Modality == CT", "there is no DICOM keyword 'CT'", '"CT"'),
    ("Modality", "the condition is text, not true or false", "compare it"),
    ("SliceThickness", "the condition is a number, not true or false", "compare it"),
    ('Modality && Modality == "CT"', "Modality: this part is text", "compare it"),
    ('true || "a"', '"a": this part is text', "compare it"),
    ("!Modality", "! takes true or false", ""),
    ("-Modality == 3", "- takes a number", ""),
    ('Modality == "CT" ? true : "a"', "the two sides of ':' are true or false and text", "the same type"),
    ("Modality ? true : false", "Modality: this part is text", "compare it"),
    ('"C" + Modality == "CCT"', 'arithmetic takes numbers; "C" (text) is none', ""),
    ("SliceThickness % 2 == 1", "numbers have no %", ""),
    ("ImageType.exists(x, x > 3)", "x > 3: x (text) cannot be compared with 3", "text in quotes"),
    ("ImageType.exists(x, x)", "x: this part is text", "compare it"),
    ("ImageType.exists(X, true)", "in small letters", "call it x"),
    ("ImageType.exists(true)", "takes a variable and a condition", "PRIMARY"),
    ("Modality.exists(x, true)", "is asked of a list", ""),
    ("Modality == null", "null is no value of a DICOM attribute", "has(NAME)"),
    ("SliceThickness > 2u", "2u is no value", ""),
    ("Modality.Foo == 3", "a value has no fields", ""),
    ('{"a": 1} == 3', "maps cannot be made", ""),
    (".Modality == 'CT'", "a name begins with a letter", ""),
]


@pytest.mark.parametrize(("text", "message", "remedy"), REFUSED, ids=[text for text, _, _ in REFUSED])
def test_type_errors_are_found_at_load_with_line_and_key(text: str, message: str, remedy: str) -> None:
    with pytest.raises(RuleError) as caught:
        compile_condition(text, PLACE)
    assert str(caught.value).startswith("dicom-node.toml:12: rules[1].all[2]: ")
    assert message in str(caught.value)
    assert remedy in caught.value.remedy
    assert (caught.value.line, caught.value.key) == (12, "rules[1].all[2]")


@pytest.mark.parametrize(
    "text",
    [
        "true",
        'Modality == "CT"',
        'BodyPartExamined in ["CHEST", "THORAX", "LUNG"]',
        "instances >= 20",
        "SliceThickness <= 5",
        "SliceThickness > 0x10",
        "SliceThickness in [1, 2.5]",
        '"PRIMARY" in ImageType',
        'ImageType[2] == "AXIAL" && size(ImageType) >= 3 && ImageType.size() > 2',
        "PixelSpacing[0] * Rows / 10 - 1 > -3",
        "PixelSpacing == [0.5, 0.5]",
        'StudyDate >= "20240101"',
        'Modality.matches("^C") || Modality.startsWith("M") || Modality.endsWith("T") || Modality.contains("C")',
        'SeriesDescription.lowerAscii().contains("lung")',
        'ImageType.exists(x, x.upperAscii() == "PRIMARY") && !ImageType.all(x, x == "DERIVED")',
        "PixelSpacing.all(x, x < 1)",
        "has(ContrastBolusAgent) ? KVP >= 100 : KVP >= 80",
        '(Modality == "CT") == true',
        "SliceThickness <= 5 // in mm",
    ],
)
def test_good_conditions_are_read(text: str) -> None:
    assert compile_condition(text, PLACE).text == text
