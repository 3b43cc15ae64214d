"""A job's key is equal exactly when content, model and parameters are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.job import SelectedSeries, job_key

IMAGE = SelectedSeries("image", 7, "1.2.3", (1, 2), ("aa", "bb"))


@given(st.permutations(["aa", "bb", "cc", "dd"]))
def test_the_order_of_arrival_does_not_change_the_key(digests: list[str]) -> None:
    arrived = SelectedSeries("image", 7, "1.2.3", (1, 2, 3, 4), tuple(digests))
    sorted_ = SelectedSeries("image", 9, "1.2.3", (5, 6, 7, 8), ("aa", "bb", "cc", "dd"))

    assert job_key("1.2", [arrived], "model", {}) == job_key("1.2", [sorted_], "model", {})


def test_the_order_of_parameters_does_not_change_the_key() -> None:
    assert job_key("1.2", [IMAGE], "m", {"a": 1, "b": 2}) == job_key("1.2", [IMAGE], "m", {"b": 2, "a": 1})


@pytest.mark.parametrize(
    "other",
    [
        job_key("1.3", [IMAGE], "model", {"a": 1}),
        job_key("1.2", [SelectedSeries("prior", 7, "1.2.3", (1, 2), ("aa", "bb"))], "model", {"a": 1}),
        job_key("1.2", [SelectedSeries("image", 7, "1.2.3", (1,), ("aa",))], "model", {"a": 1}),
        job_key("1.2", [IMAGE], "model of a later version", {"a": 1}),
        job_key("1.2", [IMAGE], "model", {"a": 2}),
    ],
)
def test_another_content_model_or_parameter_is_another_key(other: str) -> None:
    assert other != job_key("1.2", [IMAGE], "model", {"a": 1})


def test_a_selection_comes_back_from_the_ledger_without_its_digests() -> None:
    assert SelectedSeries.from_json("image", IMAGE.as_json()) == SelectedSeries("image", 7, "1.2.3", (1, 2))
