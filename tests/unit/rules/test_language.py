from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.study import SeriesView
from dicom_node.errors import RuleError
from dicom_node.rules.attributes import Place, Unknown
from dicom_node.rules.language import LONGEST_CONDITION, Outcome, compile_condition

PLACE = Place(Path("dicom-node.toml"), 12, "rules[1].any[1]")
MakeSeries = Callable[..., SeriesView]

SYNTAX_ERRORS = [
    ("", "at the end: expected a DICOM keyword, a value or '('", ""),
    ("Modality ==", "at the end: expected a DICOM keyword, a value or '('", ""),
    ('(Modality == "CT"', "at the end: expected ')'", ""),
    ('Modality in ["CT"', "at the end: expected ']'", ""),
    ('Modality == "CT', "at column 13: expected a DICOM keyword, a value or '('", "the same quote"),
    ('Modality = "CT"', "at column 10: expected an operator", "write == to compare"),
    ('Modality == "CT" and true', "at column 18: expected an operator", "write &&"),
    ("instances >= 20 )", "at column 17: expected an operator", ""),
    ("SliceThickness < < 3", "at column 18: expected a DICOM keyword, a value or '('", ""),
    ("Modality \x0b", "at column 10: expected an operator", ""),
    ('Modality ==\n"CT" "MR"', "at column 6 of line 2: expected an operator", "the same quote"),
]


@pytest.mark.parametrize(("text", "message", "remedy"), SYNTAX_ERRORS, ids=[text for text, _, _ in SYNTAX_ERRORS])
def test_syntax_errors_tell_column_and_what_was_expected(text: str, message: str, remedy: str) -> None:
    with pytest.raises(RuleError) as caught:
        compile_condition(text, PLACE)
    assert str(caught.value).startswith(f"dicom-node.toml:12: rules[1].any[1]: syntax error {message}")
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true || " * LONGEST_CONDITION + "true", "characters at most"),
        ("(" * 40 + "true" + ")" * 40, "nested too deeply"),
        ("SliceThickness < " + "9" * 500, "too long a number"),
    ],
)
def test_oversized_conditions_are_refused(text: str, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        compile_condition(text, PLACE)


@pytest.mark.parametrize(
    ("text", "outcome", "unknown"),
    [
        ('Modality == "CT"', Outcome.TRUE, ()),
        ('Modality == "MR"', Outcome.FALSE, ()),
        ("SliceThickness <= 5", Outcome.TRUE, ()),
        ("SliceThickness == 5", Outcome.TRUE, ()),
        ("SliceThickness in [3, 5]", Outcome.TRUE, ()),
        ("instances >= 30", Outcome.TRUE, ()),
        ("SliceThickness - 1 < 3.5", Outcome.FALSE, ()),
        ("SliceThickness / 0 > 1", Outcome.TRUE, ()),
        ('"PRIMARY" in ImageType', Outcome.TRUE, ()),
        ('ImageType[1] == "PRIMARY"', Outcome.TRUE, ()),
        ("size(ImageType) == 2", Outcome.TRUE, ()),
        ('ImageType.exists(x, x.lowerAscii() == "primary")', Outcome.TRUE, ()),
        ('SeriesDescription.matches("(?i)LUNG")', Outcome.TRUE, ()),
        ('SeriesDescription.upperAscii() == "THORAX LUNG"', Outcome.TRUE, ()),
        ('ImageType[7] == "PRIMARY"', Outcome.UNKNOWN, ("ImageType",)),
        ('BodyPartExamined == "CHEST"', Outcome.UNKNOWN, ("BodyPartExamined",)),
        ("KVP == 120", Outcome.UNKNOWN, ("KVP",)),
        ("!(KVP == 120)", Outcome.UNKNOWN, ("KVP",)),
        ("KVP == 120 || Modality == 'CT'", Outcome.TRUE, ("KVP",)),
        ("KVP == 120 || Modality == 'MR'", Outcome.UNKNOWN, ("KVP",)),
        ("Modality == 'MR' && KVP == 120", Outcome.FALSE, ("KVP",)),
        ("KVP == 120 ? true : true", Outcome.UNKNOWN, ("KVP",)),
        ("ImageType.exists(x, KVP == 120)", Outcome.UNKNOWN, ("KVP",)),
        ("has(KVP)", Outcome.TRUE, ()),
        ("has(BodyPartExamined)", Outcome.FALSE, ()),
        ("has(BodyPartExamined) && BodyPartExamined == 'CHEST'", Outcome.FALSE, ("BodyPartExamined",)),
        ("has(Rows)", Outcome.TRUE, ()),
        ("Rows > 3", Outcome.UNKNOWN, ("Rows",)),
    ],
)
def test_outcomes(make_series: MakeSeries, text: str, outcome: Outcome, unknown: tuple[str, ...]) -> None:
    series = make_series(
        SliceThickness=5.0,
        ImageType=["ORIGINAL", "PRIMARY"],
        SeriesDescription="Thorax Lung",
        Rows="512?",
        varying=("KVP",),
    )
    found = compile_condition(text, PLACE).evaluate(series)
    assert (found.outcome, found.unknown) == (outcome, unknown)


def test_every_name_is_shown_with_its_value(make_series: MakeSeries) -> None:
    condition = compile_condition('KVP == 120 || has(Rows) || Modality == "CT"', PLACE)
    found = condition.evaluate(make_series(varying=("KVP",)))
    assert dict(found.values) == {"KVP": Unknown.VARIES, "Modality": "CT", "Rows": Unknown.ABSENT}


def test_outcomes_are_remembered_by_values(make_series: MakeSeries) -> None:
    condition = compile_condition("SliceThickness <= 5", PLACE)
    for number in range(5):
        condition.evaluate(make_series(number, SliceThickness=5.0))
    assert condition.outcome_of.cache_info().misses == 1  # type: ignore[attr-defined]


def test_threads_may_share_a_condition(make_series: MakeSeries) -> None:
    condition = compile_condition('instances >= 50 && Modality == "CT"', PLACE)
    start = threading.Barrier(8)

    def evaluate(worker: int) -> list[bool]:
        start.wait(10)
        counts = range(worker, 100, 3)
        found = [condition.evaluate(make_series(instances=count)).outcome for count in counts]
        return [
            outcome is (Outcome.TRUE if count >= 50 else Outcome.FALSE)
            for outcome, count in zip(found, counts, strict=True)
        ]

    with ThreadPoolExecutor(8) as pool:
        assert all(all(answers) for answers in pool.map(evaluate, range(8)))


def test_the_deepest_condition_evaluates_far_down_the_stack(make_series: MakeSeries) -> None:
    condition = compile_condition("(" * 18 + "instances > 1" + ")" * 18, PLACE)

    def down(levels: int) -> Outcome:
        return down(levels - 1) if levels else condition.evaluate(make_series()).outcome

    assert down(200) is Outcome.TRUE


def test_reading_a_condition_never_lowers_the_recursion_limit() -> None:
    program = (
        "import sys; sys.setrecursionlimit(9000)\n"
        "from dicom_node.rules.language import *\n"
        "assert 'celpy' not in sys.modules\n"
        "compile_condition('true', Place(None, None, 'x'))\n"
        "assert sys.getrecursionlimit() == 9000 and 'celpy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_celpy_is_quiet(caplog: pytest.LogCaptureFixture, make_series: MakeSeries) -> None:
    with caplog.at_level(logging.DEBUG):
        compile_condition("KVP > 1", PLACE).evaluate(make_series(KVP=120.0))
    assert not [record for record in caplog.records if record.name.startswith("celpy")]


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800") | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
CONDITIONS = [
    compile_condition(text, PLACE)
    for text in (
        'Modality == "CT" || Modality.matches("^[A-Z]{2}$") && Modality.lowerAscii() < "x"',
        "SliceThickness / (SliceThickness - SliceThickness) * SliceThickness > 1",
        'ImageType[1] == "PRIMARY" || ImageType.exists(x, x.startsWith("A")) || "A" in ImageType',
        "PixelSpacing[1] * -PixelSpacing[0] + 1 > 0 || PixelSpacing.all(x, x < 1)",
        "has(Modality) ? has(SliceThickness) : size(ImageType) > 1 && Modality.size() > 1",
    )
]


NAMES = ("Modality", "SliceThickness", "ImageType", "PixelSpacing", "KVP")
ANY_VALUES = st.fixed_dictionaries(dict.fromkeys(NAMES, ANY_VALUE))


@given(values=ANY_VALUES)
def test_no_data_makes_an_evaluation_raise(make_series: MakeSeries, values: dict[str, Any]) -> None:
    for condition in CONDITIONS:
        found = condition.evaluate(make_series(**values))
        assert found.outcome in Outcome
        assert found.outcome is not Outcome.UNKNOWN or found.unknown


@given(
    thickness=st.floats(allow_nan=False, allow_infinity=False),
    limit=st.integers(-10000, 10000),
)
def test_numbers_compare_as_numbers(make_series: MakeSeries, thickness: float, limit: int) -> None:
    found = compile_condition(f"SliceThickness <= {limit}", PLACE).evaluate(make_series(SliceThickness=thickness))
    assert (found.outcome is Outcome.TRUE) == (thickness <= limit)


VOCABULARY = (
    "Modality KVP ImageType PixelSpacing instances x has size exists matches startsWith ( ) [ ] { } . , == != < <= in "
    "&& || ! ? : + - * / % 0 1 2.5 9e9 1u \"CT\" 'A' true null"
)
WORDS = st.sampled_from(VOCABULARY.split())


@given(text=st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=30), values=ANY_VALUES)
def test_any_text_is_read_or_refused_by_name(make_series: MakeSeries, text: str, values: dict[str, Any]) -> None:
    try:
        condition = compile_condition(text, PLACE)
    except RuleError as error:
        assert error.line == 12
    else:
        assert condition.evaluate(make_series(**values)).outcome in Outcome
