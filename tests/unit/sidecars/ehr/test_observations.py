"""What OBX segments say, and what they do not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hl7_messages import header, message, obx, pid

from dicom_node.domain.feature import Feature, FeatureState
from dicom_node.exchange.hl7v2 import parse
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.ehr.observations import features_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNIT = "mL/min/{1.73_m2}"
MAPPING = load()


def one(segment: str, order: str = "OBR|1|P1|F77|24321-2^BMP^LN|||20260131080000+0000") -> Feature:
    told = parse(message(header("ORU^R01"), pid(), order, segment))
    (found,) = features_of(told, MAPPING, NOON, UTC)[0]
    return found


def test_a_value_keeps_where_it_is_from() -> None:
    found = one(obx("33914-3", "88", UNIT))
    assert (found.name, found.value, found.unit, found.status) == ("egfr", 88.0, UNIT, "final")
    assert found.source == "hl7:ADT1|GENERAL/F77/LN-33914-3"
    assert found.effective_at == datetime(2026, 2, 1, 8, tzinfo=UTC)
    assert one(obx("33914-3", "88", UNIT, at="")).effective_at == datetime(2026, 1, 31, 8, tzinfo=UTC)


def test_units_are_converted() -> None:
    assert one(obx("2093-3", "5", "mmol/L")).value == pytest.approx(193.35)
    assert one(obx("33914-3", "=^88", UNIT, kind="SN")).value == 88.0


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        (obx("33914-3", "88", "mL/min"), "unit is mL/min"),
        (obx("33914-3", "88", UNIT, "P"), "status is P"),
        (obx("33914-3", "", UNIT, "I"), "status is I"),
        (obx("33914-3", "many", UNIT), "no number"),
        (obx("33914-3", ">^90", UNIT, kind="SN"), "no number"),
        (obx("33914-3", "88", UNIT, kind="ST"), "no number"),
        (obx("33914-3", "9999", UNIT), "not plausible"),
        (obx("72166-2", "x^y^L", "", kind="CWE"), "does not know"),
    ],
)
def test_what_cannot_be_used_is_told(segment: str, reason: str) -> None:
    found = one(segment)
    assert (found.state, found.value) == (FeatureState.REJECTED, None)
    assert reason in found.reason


def test_answers_are_of_the_set() -> None:
    assert one(obx("72166-2", "8517006^Former smoker^SCT", "", kind="CWE")).value == "former"


def test_without_a_day_there_is_no_value() -> None:
    assert "which day" in one(obx("33914-3", "88", UNIT, at=""), "OBR|1|P1|F77").reason


def test_what_was_deleted_says_nothing() -> None:
    told = parse(message(header("ORU^R01"), pid(), "OBR|1||F77", obx("33914-3", "", UNIT, "D")))
    assert features_of(told, MAPPING, NOON, UTC) == (
        [],
        {"hl7:ADT1|GENERAL/F77/LN-33914-3": "it is deleted (OBX-11 D)"},
    )
