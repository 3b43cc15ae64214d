from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.archive.agreement import agree, study_attributes

ATTRIBUTES = st.dictionaries(st.sampled_from("ABCDE"), st.sampled_from(["x", "y", 1.0, [1.0, 2.0]]), max_size=5)


@given(st.lists(ATTRIBUTES, min_size=1, max_size=6), st.randoms())
def test_the_order_of_arrival_does_not_matter(instances: list[dict[str, Any]], random: Any) -> None:
    shuffled = list(instances)
    random.shuffle(shuffled)
    assert agree(instances) == agree(shuffled)


@given(st.lists(ATTRIBUTES, min_size=1, max_size=6))
def test_an_attribute_is_agreed_upon_when_all_have_it_alike_and_varies_otherwise(
    instances: list[dict[str, Any]],
) -> None:
    result = agree(instances)
    for key in {key for instance in instances for key in instance}:
        values = [instance.get(key) for instance in instances]
        if all(value == values[0] for value in values):
            assert result.attributes[key] == values[0]
            assert key not in result.varying
        else:
            assert key in result.varying
            assert key not in result.attributes


def test_nothing_agrees_on_nothing() -> None:
    assert agree([]).attributes == {}


def test_attributes_of_a_study_come_from_the_series_that_have_them() -> None:
    series = [
        {"PatientID": "P1", "StudyDate": "20260101", "Modality": "CT"},
        {"PatientID": "P1", "StudyDate": "20260102", "AccessionNumber": "A1"},
    ]
    assert study_attributes(series) == {"PatientID": "P1", "AccessionNumber": "A1"}
