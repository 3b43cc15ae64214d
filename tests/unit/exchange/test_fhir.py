"""Documents of FHIR: what is sound is read, what is not is refused by name, and nothing takes the reader down."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fhir_records import bundle, condition, ndjson, observation, patient

from dicom_node.errors import InputError
from dicom_node.exchange.fhir import fault_of, moment, read


def test_bundles_and_lines_hold_the_same() -> None:
    told = (patient(), observation("33914-3", 88, "mL/min/{1.73_m2}"))
    for data in (bundle(*told), ndjson(*told), b"\xef\xbb\xbf" + bundle(*told)):
        found = read(data, "x")
        assert [(each.reference, each.patient) for each in found.resources] == [
            ("Patient/a", "Patient/a"),
            ("Observation/o1", "Patient/a"),
        ]
        assert found.refused == []


def test_references_within_a_bundle_and_to_servers_are_the_same_patient() -> None:
    for reference in ("urn:x:Patient/a", "Patient/a", "https://ehr.example/fhir/Patient/a/_history/3"):
        made = observation("33914-3", 88, "x", subject={"reference": reference})
        assert read(bundle(patient(), made), "x").resources[1].patient == "Patient/a"
    assert read(bundle(observation("1", 1, "x", subject={"reference": "Group/7"})), "x").resources[0].patient == ""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (observation("1", 1, "x", status="bogus"), "status is 'bogus'"),
        (observation("1", 1, "x", status=None), "status"),
        (observation("1", 1, "x", effectiveDateTime="yesterday"), "effectiveDateTime"),
        (observation("1", 1, "x", valueString="two values"), "value"),
        (observation("1", 1, "x", surprise=1), "surprise"),
        (observation("1", 1, "x", id=None), "no id"),
        (observation("1", 1, "x", category="lab"), "category"),
        (patient(gender="F"), "gender is 'F'"),
        (condition("13645005", verification="perhaps"), "verificationStatus is 'perhaps'"),
    ],
)
def test_what_is_not_sound_is_refused_by_name(body: dict[str, Any], reason: str) -> None:
    found = read(bundle(patient(id_="b"), body), "record.json")
    assert [each.reference for each in found.resources] == ["Patient/b"]
    assert len(found.refused) == 1
    assert found.refused[0].what.startswith("record.json, entry 2: ")
    assert reason in found.refused[0].reason


def test_each_release_has_its_models() -> None:
    medication = {
        "resourceType": "MedicationRequest",
        "id": "m",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/a"},
    }
    of_r4 = {**medication, "medicationCodeableConcept": {"text": "x"}}
    of_r5 = {**medication, "medication": {"concept": {"text": "x"}}}
    assert [fault_of(of_r4), fault_of(of_r4, "R4B"), fault_of(of_r5, "R5")] == ["", "", ""]
    assert fault_of(of_r4, "R5")
    assert fault_of(of_r5)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"{", b"[]", b"7", b'{"a": 1}\n{', b'{"resourceType": "Bundle", "entry": [1]}']
)
def test_what_is_no_fhir_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError):
        read(data, "x")


def test_times_are_aware_and_dates_begin_with_their_day() -> None:
    assert moment("2026-02-01T08:00:00+01:00") == datetime(2026, 2, 1, 7, tzinfo=UTC)
    assert moment("2026-02") == datetime(2026, 2, 1, tzinfo=UTC)
    assert moment("2026") == datetime(2026, 1, 1, tzinfo=UTC)
    assert moment(None) is None


def test_broken_documents_are_refused_and_never_anything_else(test_data: Path) -> None:
    whole = sorted((test_data / "ehr" / "fhir").glob("Brett*.json"))[0].read_bytes()
    small = json.loads(whole)
    small["entry"] = small["entry"][:40]
    text = json.dumps(small).encode()
    dice = random.Random(7)
    refused = 0
    for _ in range(300):
        mutated = bytearray(text)
        for _ in range(dice.randint(1, 12)):
            mutated[dice.randrange(len(mutated))] = dice.choice(b'{}[]",:0x\\ e')
        if dice.random() < 0.2:
            del mutated[dice.randrange(len(mutated)) :]
        try:
            refused += len(read(bytes(mutated), "x").refused)
        except InputError:
            refused += 1
    assert refused > 150
