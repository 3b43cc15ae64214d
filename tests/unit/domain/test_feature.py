"""Which value a model gets: the newest usable one of its time, or a reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.feature import (
    AGE,
    BIRTH_DATE,
    Feature,
    FeatureSpec,
    FeatureState,
    WhenMissing,
    age_at,
    choose,
    digest,
    numbers,
    plausible,
)
from dicom_node.domain.finding import Code

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EGFR = Code("33914-3", "LN", "eGFR")
SPEC = FeatureSpec("egfr", EGFR, "mL/min/{1.73_m2}", 15, 150, lookback_days=365, missing=WhenMissing.REFUSE)


def egfr(value: float = 88.0, days_ago: float = 10.0, **given: Any) -> Feature:
    told = Feature(
        "egfr",
        value,
        "mL/min/{1.73_m2}",
        FeatureState.PRESENT,
        code=EGFR,
        effective_at=NOON - timedelta(days=days_ago),
        source=f"fhir:x/Observation/{days_ago:g}",
    )
    return replace(told, **given)


def test_the_newest_counts() -> None:
    assert choose(SPEC, [egfr(70, 100), egfr(88, 10), egfr(60, 300)], NOON).value == 88


def test_what_comes_later_does_not_exist_yet() -> None:
    assert choose(SPEC, [egfr(70, 100), egfr(20, -1)], NOON).value == 70


def test_nothing_told_is_missing_and_no_statement() -> None:
    found = choose(SPEC, [egfr(name="hba1c")], NOON)
    assert (found.state, found.value) == (FeatureState.MISSING, None)


@pytest.mark.parametrize(
    ("told", "state", "reason"),
    [
        (egfr(days_ago=400), FeatureState.STALE, "400 days old"),
        (egfr(unit="mL/min"), FeatureState.REJECTED, "unit is mL/min"),
        (egfr(151), FeatureState.REJECTED, "above 150"),
        (egfr(14), FeatureState.REJECTED, "below 15"),
        (egfr("high"), FeatureState.REJECTED, "no number"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_told_and_not_used(told: Feature, state: FeatureState, reason: str) -> None:
    found = choose(SPEC, [told], NOON)
    assert found.state is state
    assert reason in found.reason


def test_two_values_for_one_time_are_none() -> None:
    found = choose(SPEC, [egfr(88), egfr(61, source="fhir:x/Observation/other")], NOON)
    assert found.state is FeatureState.CONFLICT
    assert "61" in found.reason and "88" in found.reason


def test_the_same_value_twice_is_no_conflict() -> None:
    assert choose(SPEC, [egfr(88), egfr(88, source="hl7:a")], NOON).state is FeatureState.PRESENT


def test_a_rejected_value_leaves_the_older_usable_one() -> None:
    bad = egfr(days_ago=1, state=FeatureState.REJECTED, reason="status is preliminary")
    assert choose(SPEC, [bad, egfr(70, 5)], NOON).value == 70
    assert choose(SPEC, [bad], NOON).reason == "status is preliminary"


def test_texts_are_of_the_set() -> None:
    spec = FeatureSpec("smoking", Code("72166-2", "LN", "Smoking"), one_of=("never", "former", "current"))
    told = Feature("smoking", "former", "", FeatureState.PRESENT, effective_at=NOON)
    assert choose(spec, [told], NOON).value == "former"
    assert choose(spec, [replace(told, value="maybe")], NOON).state is FeatureState.REJECTED


def test_age_is_that_of_the_day_that_counts() -> None:
    born = Feature(BIRTH_DATE, "1964-03-01", "", FeatureState.PRESENT, transform="ehr/1:birth_date")
    found = age_at(born, NOON)
    assert (found.name, found.value, found.unit) == (AGE, 62.0, "a")
    assert age_at(replace(born, value=None, state=FeatureState.MISSING), NOON).state is FeatureState.MISSING


def test_times_without_a_zone_and_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        egfr(effective_at=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="finite"):
        egfr(float("nan"))
    with pytest.raises(ValueError, match="has a value"):
        Feature("egfr", None, "", FeatureState.PRESENT)


values = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8), st.booleans())
features = st.builds(
    Feature,
    name=st.sampled_from(["egfr", "sex", "prs"]),
    value=values,
    unit=st.sampled_from(["", "a", "mL/min/{1.73_m2}"]),
    state=st.sampled_from(FeatureState),
    code=st.sampled_from([None, EGFR]),
    effective_at=st.one_of(st.none(), st.datetimes(datetime(1950, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC))),  # noqa: DTZ001
    source=st.text(max_size=5),
)


@given(features)
def test_the_ledger_gives_back_what_it_was_given(told: Feature) -> None:
    assert Feature.from_json(told.as_json()) == told


@given(st.lists(features, max_size=5, unique_by=lambda f: f.name), st.randoms())
def test_the_digest_is_of_what_is_told_in_whatever_order(told: list[Feature], random: Any) -> None:
    other = list(told)
    random.shuffle(other)
    assert digest(other) == digest(told)
    if told:
        assert digest([replace(told[0], unit="mmol/L"), *told[1:]]) != digest(told)


@given(st.lists(features, max_size=6))
def test_what_is_chosen_held_by_then_and_fits(told: list[Feature]) -> None:
    found = choose(SPEC, told, NOON)
    if found.state is FeatureState.PRESENT:
        assert found in told
        assert found.effective_at is None or found.effective_at <= NOON
        assert found.unit == SPEC.unit
    else:
        assert found.reason or found in told


@given(st.dictionaries(st.sampled_from(["age", "smokes", "status"]), st.just(0)))
def test_numbers_for_a_network_say_what_is_known(known: dict[str, int]) -> None:
    specs = [
        FeatureSpec("age", EGFR, "a"),
        FeatureSpec("status", EGFR, one_of=("never", "former", "current")),
        FeatureSpec("smokes", EGFR),
    ]
    values: dict[str, Any] = {"age": 61.5, "status": "former", "smokes": True}
    told = numbers(specs, {name: values[name] for name in known})

    assert told[0] == (61.5 if "age" in known else 0)
    assert told[1:4] == ((0, 1, 0) if "status" in known else (0, 0, 0))
    assert told[4] == ("smokes" in known)
    assert told[5:] == tuple(float(spec.name in known) for spec in specs)


def test_computed_values_are_plausible() -> None:
    assert plausible(FeatureSpec("age", EGFR, "a", at_least=20, at_most=80)) == 50
    assert plausible(FeatureSpec("status", EGFR, one_of=("never", "current"))) == "never"
    assert plausible(FeatureSpec("smokes", EGFR)) == 0
