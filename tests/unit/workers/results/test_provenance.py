from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_cases import CONTEXT, contract

from dicom_node.domain.contract import Status, Weight
from dicom_node.domain.identifiers import is_valid_uid
from workers.results import provenance


@given(st.text(), st.integers(0, 100))
def test_cut_text_fits_in_one_line(text: str, length: int) -> None:
    short = provenance.cut(text, length)
    assert len(short) <= length
    assert "\\" not in short
    assert short == " ".join(short.split())


def test_short_text_is_kept() -> None:
    assert provenance.cut("Lungs on CT", 64) == "Lungs on CT"


def test_a_research_model_is_named_research() -> None:
    assert provenance.series_description(contract(), "report") == "RESEARCH ct_lung_density 0.1.0 report"
    clinical = contract(status=Status.CLINICAL)
    assert provenance.series_description(clinical, "report") == "ct_lung_density 0.1.0 report"


def test_a_long_name_is_cut_and_the_rest_kept() -> None:
    text = provenance.series_description(contract(name="n" * 80, version="10.20.30"), "segmentation")
    assert len(text) == 64
    assert text.startswith("RESEARCH nnn")
    assert text.endswith("... 10.20.30 segmentation")


@given(st.text(min_size=1, max_size=20), st.integers(0, 5))
def test_series_numbers_follow_each_other_above_those_of_modalities(job_key: str, issue: int) -> None:
    context = replace(CONTEXT, job_key=job_key, issue=issue)
    number = provenance.series_number(context, "seg")
    assert 800_000 <= number < 900_000
    assert provenance.series_number(context, "sr") == number + 1


@pytest.mark.parametrize("change", [{"job_key": "other"}, {"issue": 1}, {"profile": "labelmap"}])
def test_another_result_has_other_uids(change: dict[str, object]) -> None:
    other = replace(CONTEXT, **change)  # type: ignore[arg-type]
    uids = {provenance.uid(c, output) for c in (CONTEXT, other) for output in ("seg/instance", "sr/instance")}
    assert len(uids) == 4
    assert all(map(is_valid_uid, uids))


def test_what_is_tracked_stays_the_same_in_another_issue() -> None:
    again = replace(CONTEXT, issue=7, profile="labelmap")
    assert provenance.tracking_uid(CONTEXT, (1, 2)) == provenance.tracking_uid(again, (1, 2))
    assert provenance.tracking_uid(CONTEXT, (1, 2)) != provenance.tracking_uid(CONTEXT, (1, 3))


def test_only_trained_models_are_called_artificial_intelligence() -> None:
    trained = contract(weights=(Weight("models/model.pt", "00" * 32, "own"),))
    assert provenance.algorithm_family(trained).value == "123110"
    assert provenance.algorithm_family(contract()).value == "123104"
