"""Agreement of values with their truth."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.finding import Code
from dicom_node.domain.output import ValueOutput, ValueSpec
from dicom_node.errors import InputError
from workers.evaluation import values

CODE = Code("1", "99TEST", "test")
OUTPUT = ValueOutput(
    "size", "pred", (ValueSpec("volume", CODE, Code("ml", "UCUM", "ml")), ValueSpec("age", CODE, CODE))
)


def folder_with(folder: Path, table: str, *names: str) -> Path:
    (folder / "images").mkdir(parents=True)
    for name in names:
        nibabel.save(
            nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), folder / "images" / f"{name}.nii.gz"
        )
    (folder / "truth.csv").write_text(table)
    return folder


def test_a_column_for_each_value_in_the_order_of_the_output(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "cases", "case,age,volume\nb,40,2.5\na,50,-1e0\n", "a", "b")
    cases, truth = values.find(folder, OUTPUT)
    assert [case.name for case in cases] == ["b", "a"]
    assert truth.tolist() == [[2.5, 40], [-1, 50]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("case,volume\na,1\n", "line 2: age is None, no number"),
        ("case,volume,age\na,1,old\n", "line 2: age is 'old', no number"),
        ("case,volume,age\na,nan,1\n", "line 2: volume is 'nan', no number"),
        ("case,volume,age\na,1,1\na,1,1\n", "line 3: a case stands in it twice"),
        ("case,volume,age\nz,1,1\n", "1 case(s) have no image, or no line: z"),
    ],
)
def test_a_wrong_table_is_refused_by_name(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        values.find(folder_with(tmp_path / "cases", table, "a"), OUTPUT)
    assert message in caught.value.message


def test_scores_are_those_of_the_literature() -> None:
    """Judges 1 and 2 of Shrout and Fleiss 1979, doi:10.1037/0033-2909.86.2.420; checked by the formula of ICC(A,1)."""
    found, truth = np.array([9.0, 6, 8, 7, 10, 6]), np.array([2.0, 1, 4, 1, 5, 2])
    told = values.of_values(found, truth)
    assert told["mean_absolute_error"]["mean"] == pytest.approx(5.1667, abs=1e-4)
    assert told["bias"]["mean"] == pytest.approx(5.1667, abs=1e-4)
    spread = (found - truth).std(ddof=1)
    assert told["upper_limit"]["mean"] == pytest.approx(5.1667 + 1.96 * spread, abs=1e-3)
    assert told["lower_limit"]["mean"] == pytest.approx(5.1667 - 1.96 * spread, abs=1e-3)
    rows, columns, whole = np.var((found + truth) / 2), np.var([found.mean(), truth.mean()]), np.var([found, truth])
    error = whole - rows - columns  # mean squares by another way than the module's
    between, raters, rest = 2 * 6 * rows / 5, 2 * 6 * columns / 1, 2 * 6 * error / 5
    expected = (between - rest) / (between + rest + 2 * (raters - rest) / 6)
    assert told["icc"]["mean"] == pytest.approx(expected, abs=1e-4)
    assert told["icc"]["low"] <= told["icc"]["mean"] <= told["icc"]["high"]


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=12, unique=True), st.floats(-50, 50))
def test_a_constant_error_is_all_bias(truth: list[float], offset: float) -> None:
    wanted = np.asarray(truth)
    told = values._scores(wanted + offset, wanted)
    assert told["bias"] == pytest.approx(offset, abs=1e-6)
    assert told["lower_limit"] == pytest.approx(offset, abs=1e-4)
    assert told["icc"] is None or told["icc"] <= 1 + 1e-9


def test_what_two_cases_cannot_tell_is_none() -> None:
    told = values.of_values(np.array([1.0, 2]), np.array([1.0, 3]))
    assert told["icc"]["mean"] is told["lower_limit"]["mean"] is None
    assert told["mean_absolute_error"]["mean"] == 0.5
