import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from result_cases import AGE, CLASSES, DETECTIONS, findings_on, series

from dicom_node.archive.finding_rows import records_of, rows_of
from dicom_node.domain.finding import Classification, Detection, Evaluation, Findings, Measurement, Segment
from dicom_node.errors import LedgerError

KINDS = {
    "segments": Segment,
    "measurements": Measurement,
    "evaluations": Evaluation,
    "classes": Classification,
    "detections": Detection,
}


def through_json(findings: Findings) -> list[dict[str, Any]]:
    return json.loads(json.dumps([dict(row) for row in rows_of(findings)]))


def test_findings_are_read_again_as_they_were() -> None:
    given_ = findings_on(series(), classes=CLASSES, detections=DETECTIONS)
    rows = through_json(given_)
    for field, kind in KINDS.items():
        assert records_of(rows, kind) == getattr(given_, field)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_bit_of_a_number_is_lost(value: float) -> None:
    measured = dataclasses.replace(AGE, value=value)
    (again,) = records_of(through_json(findings_on(series(), measurements=(measured,))), Measurement)
    assert again == measured
    assert again.value.hex() == value.hex()


@pytest.mark.parametrize("change", [{"colour": "red"}, {"presence": "perhaps"}])
def test_what_another_version_wrote_is_refused_by_name(change: dict[str, str]) -> None:
    rows = through_json(findings_on(series()))
    row = next(row for row in rows if row["kind"] == "evaluation")
    row["content"] |= change
    with pytest.raises(LedgerError) as caught:
        records_of(rows, Evaluation)
    assert caught.value.reason == "unreadable-finding"
