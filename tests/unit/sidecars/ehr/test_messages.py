"""HL7 messages reach the ledger before they are answered with AA; results follow merges; nothing is taken twice."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from hl7_messages import AUTHORITY, header, message, mrg, obx, pid
from studies_of_results import Clinic

from dicom_node.archive.features import Features
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.truth import Truth
from dicom_node.ehr_settings import EhrSettings
from dicom_node.exchange.hl7v2 import parse
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.ehr.messages import Messages

UNIT = "mL/min/{1.73_m2}"
MAPPING = load()
SETTINGS = EhrSettings.model_validate(
    {"default_issuer": "HOSP", "identifiers": [{"system": AUTHORITY, "issuer": "HOSP"}]}
)


@pytest.fixture
def messages(clinic: Clinic) -> Messages:
    return Messages(SETTINGS, clinic.database, ObjectStore(clinic.data_dir), MAPPING, UTC)


def answered(messages: Messages, *segments: str) -> tuple[str, str]:
    """Code and text of the answer."""
    told = parse(messages.answer(message(*segments))).first("MSA")
    return told.field(1), told.field(3)


def told(clinic: Clinic) -> dict[str, str]:
    with clinic.database.read() as connection:
        return dict(Truth.of(connection, 1).told)


def values(clinic: Clinic, number: str = "SYN-1") -> dict[str, Any]:
    features = Features(clinic.database)
    return {each.name: each.value for each in features.of_patient(features.identity("HOSP", number)) if not each.reason}


def observed(messages: Messages, status: str = "F", value: str = "88", control: str = "9", at: str = "20260301") -> str:
    kind = header("ORU^R01", control, f"{at}120000+0000")
    return answered(messages, kind, pid(), "OBR|1||F77", obx("33914-3", value, UNIT, status))[0]


def test_who_a_patient_is_becomes_a_record(clinic: Clinic, messages: Messages) -> None:
    assert answered(messages, header("ADT^A04"), pid()) == ("AA", "")
    features = Features(clinic.database)
    (record,) = features.records(features.identity("HOSP", "SYN-1"))
    assert record.attributes == {"PatientName": "Doe^Jane", "PatientBirthDate": "19640301", "PatientSex": "F"}
    assert values(clinic) == {"birth_date": "1964-03-01", "sex": "female"}
    answered(messages, header("ADT^A29", "2"), pid())
    assert features.records(features.identity("HOSP", "SYN-1"))[0].standing == "deleted"


@pytest.mark.parametrize("trigger", ["A40", "A34"])
def test_results_follow_a_merge_once(clinic: Clinic, messages: Messages, trigger: str) -> None:
    clinic.arrive()
    merge = (header(f"ADT^{trigger}", "5"), pid("NEW", "Right^Person"), mrg("SYN-1"))
    assert answered(messages, *merge) == ("AA", "")
    assert told(clinic)["PatientID"] == "NEW"
    assert told(clinic)["PatientName"] == "Right^Person"
    before = clinic.events().count("identity corrected")
    assert answered(messages, *merge) == ("AA", "")
    assert clinic.events().count("identity corrected") == before


def test_several_patients_of_one_message_are_merged_each_into_its_own(clinic: Clinic, messages: Messages) -> None:
    clinic.arrive()
    pairs = (pid("A"), mrg("B"), pid("NEW"), mrg("SYN-1"))
    assert answered(messages, header("ADT^A40"), *pairs) == ("AA", "")
    assert told(clinic)["PatientID"] == "NEW"


def test_an_update_is_what_results_say(clinic: Clinic, messages: Messages) -> None:
    clinic.arrive()
    assert answered(messages, header("ADT^A08"), pid(name="Married^Jane")) == ("AA", "")
    assert told(clinic)["PatientName"] == "Married^Jane"
    assert answered(messages, header("ADT^A08", "2"), pid("STRANGER")) == ("AA", "")


def test_an_older_message_that_comes_later_is_told(clinic: Clinic, messages: Messages) -> None:
    clinic.arrive()
    answered(messages, header("ADT^A08", "2", "20260302120000+0000"), pid(name="Newer^Jane"))
    code, text = answered(messages, header("ADT^A08", "1", "20260301120000+0000"), pid(name="Older^Jane"))
    assert (code, "older" in text) == ("AE", True)
    assert told(clinic)["PatientName"] == "Newer^Jane"


def test_observations_become_features_and_corrections_replace_them(clinic: Clinic, messages: Messages) -> None:
    assert observed(messages) == "AA"
    assert values(clinic) == {"egfr": 88.0}
    assert observed(messages, "C", "61", "10", "20260302") == "AA"
    assert values(clinic) == {"egfr": 61.0}
    assert observed(messages, "D", "", "11", "20260303") == "AA"
    assert values(clinic) == {}


@pytest.mark.parametrize(
    ("segments", "code", "words"),
    [
        ((header("SIU^S12"), pid()), "AR", "type SIU"),
        ((header("ADT^A45"), pid()), "AR", "not followed"),
        ((header("ADT^A01", version="3.0"), pid()), "AR", "version"),
        ((header("ADT^A01", ""), pid()), "AE", "control id"),
        ((header("ADT^A01"),), "AE", "no PID"),
        ((header("ADT^A01"), pid(of="ELSEWHERE")), "AE", "no number"),
        ((header("ADT^A01"), pid("1^^^HOSPITAL~2")), "AE", "several numbers"),
        ((header("ADT^A40"), pid()), "AE", "no MRG"),
        ((header("ADT^A40"), pid(), mrg("SYN-1")), "AE", "into itself"),
    ],
)
def test_what_is_not_taken_is_answered_by_name_and_changes_nothing(
    clinic: Clinic, messages: Messages, segments: tuple[str, ...], code: str, words: str
) -> None:
    answer = answered(messages, *segments)
    assert answer[0] == code
    assert words in answer[1]


def test_garbage_is_answered_too(messages: Messages) -> None:
    assert parse(messages.answer(b"garbage")).first("MSA").field(1) == "AE"
    assert parse(messages.refuse("not framed")).first("MSA").field(1) == "AR"


def test_a_full_disk_is_never_answered_with_aa(messages: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ObjectStore, "write_document", full)
    assert answered(messages, header("ADT^A04"), pid())[0] == "AE"
