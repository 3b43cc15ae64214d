"""Marks of detectors judged by lesions, and the free-response curve."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import InputError
from workers.evaluation import detections
from workers.evaluation.detections import Judged, Lesion, curve, judge, summary

LEFT, RIGHT = Lesion((0, 0, 0), 10), Lesion((30, 0, 0), 4)


def folder_with(folder: Path, table: str, *names: str) -> Path:
    (folder / "images").mkdir(parents=True)
    for name in names:
        nibabel.save(
            nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), folder / "images" / f"{name}.nii.gz"
        )
    (folder / "truth.csv").write_text(table)
    return folder


def marks(*placed: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Marks on the x axis, and their scores."""
    return np.array([[x, 0, 0] for x, _ in placed]).reshape(-1, 3), np.array([score for _, score in placed])


def test_a_line_for_each_lesion_and_an_empty_one_for_none(tmp_path: Path) -> None:
    table = "case,x,y,z,diameter\na,1,2,3,8\na,-4,5,6,5.5\nb,,,,\n"
    cases, lesions = detections.find(folder_with(tmp_path / "cases", table, "a", "b"))
    assert [case.name for case in cases] == ["a", "b"]
    assert lesions == {"a": (Lesion((1, 2, 3), 8), Lesion((-4, 5, 6), 5.5)), "b": ()}


@pytest.mark.parametrize("line", ["a,1,2,,8", "a,1,2,3,0", "a,1,2,inf,8", "a,left,2,3,8"])
def test_a_wrong_line_is_refused_by_name(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=r"truth\.csv, line 2: x, y, z and diameter must be numbers"):
        detections.find(folder_with(tmp_path / "cases", f"case,x,y,z,diameter\n{line}\n", "a"))


def test_a_mark_within_the_radius_hits_and_further_ones_count_neither_way() -> None:
    judged = judge([LEFT, RIGHT], *marks((4.9, 0.6), (-4, 0.9), (5.1, 0.5), (33, 0.3), (34, 0.2)))
    assert judged.hits == (0.9, 0.3)  # 33 is within the 3 mm that count for small lesions
    assert sorted(judged.false) == [0.2, 0.5]


def test_a_mark_between_two_lesions_hits_the_nearer_one_that_is_free() -> None:
    near = Lesion((6, 0, 0), 10)
    judged = judge([LEFT, near], *marks((2, 0.9), (2.5, 0.8)))
    assert sorted(judged.hits) == [0.8, 0.9]
    assert judged.false == ()


def test_sensitivity_at_a_rate_of_false_positives() -> None:
    judged = [Judged(2, (0.9, 0.4), (0.6,)), Judged(1, (0.8,), (0.7, 0.3)), Judged(0, (), ()), Judged(1, (), ())]
    rates, found = curve(judged)
    assert np.allclose(rates, [0, 0, 0, 0.25, 0.5, 0.5, 0.75])
    assert np.allclose(found, [0, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75])
    told = summary(judged)
    assert told["lesions"] == 4
    assert [told["at"][rate]["mean"] for rate in ("0.125", "0.25", "0.5", "8")] == [0.5, 0.5, 0.75, 0.75]
    assert told["sensitivity"]["mean"] == told["at"]["8"]["mean"]
    assert told["score"]["mean"] == pytest.approx((0.5 * 2 + 0.75 * 5) / 7, abs=1e-4)
    assert told["score"]["low"] <= told["score"]["mean"] <= told["score"]["high"]


def test_without_any_lesion_there_is_no_sensitivity() -> None:
    told = summary([Judged(0, (), (0.5,)), Judged(0, (), ())])
    assert told["sensitivity"]["mean"] is told["score"]["mean"] is None
    assert told["false_positives"]["mean"] == 0.5


@given(st.lists(st.tuples(st.floats(-60, 60), st.floats(0, 1)), max_size=12))
def test_every_lesion_is_hit_once_at_most_and_the_curve_rises(placed: list[tuple[float, float]]) -> None:
    judged = judge([LEFT, RIGHT], *marks(*placed))
    assert len(judged.hits) <= 2
    assert len(judged.hits) + len(judged.false) <= len(placed)
    rates, found = curve([judged])
    assert (np.diff(rates) >= 0).all()
    assert (np.diff(found) >= 0).all()
