"""HL7 messages reach the ledger before they are answered with AA; results follow merges; nothing is taken twice."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from hl7_messages import AUTHORITY, header, message, mrg, obx, pid
from pydicom.dataset import Dataset
from result_cases import series
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from studies_of_results import Clinic

from dicom_node.archive import open_items, orders
from dicom_node.archive.features import Features
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.truth import Truth
from dicom_node.domain.job import Priority
from dicom_node.ehr_settings import EhrSettings
from dicom_node.exchange.hl7v2 import parse
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.ehr.messages import Messages

ACCESSION = "A1"
UNIT = "mL/min/{1.73_m2}"
MAPPING = load()
SETTINGS = EhrSettings.model_validate(
    {"default_issuer": "HOSP", "identifiers": [{"system": AUTHORITY, "issuer": "HOSP"}]}
)


@pytest.fixture
def messages(clinic: Clinic) -> Messages:
    return Messages(SETTINGS, clinic.database, ObjectStore(clinic.data_dir), MAPPING, UTC)


def with_accession() -> list[Dataset]:
    images = series()
    for image in images:
        image.AccessionNumber = ACCESSION
    return images


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


@pytest.mark.parametrize("trigger", ["A40", "A34", "A47", "A43"])
def test_results_follow_a_merge_once(clinic: Clinic, messages: Messages, trigger: str) -> None:
    clinic.arrive()
    merge = (header(f"ADT^{trigger}", "5"), pid("NEW", "Right^Person"), mrg("SYN-1"))
    assert answered(messages, *merge) == ("AA", "")
    assert told(clinic)["PatientID"] == "NEW"
    assert told(clinic)["PatientName"] == "Right^Person"
    before = clinic.events().count("identity corrected")
    assert answered(messages, *merge) == ("AA", "")
    assert clinic.events().count("identity corrected") == before


def test_a_number_that_stands_with_another_person(clinic: Clinic, messages: Messages) -> None:
    clinic.arrive()
    assert answered(messages, header("ADT^A43"), pid(name="Right^Person", birth="19700101"), mrg("SYN-1")) == ("AA", "")
    assert told(clinic)["PatientName"] == "Right^Person"
    assert told(clinic)["PatientBirthDate"] == "19700101"


def test_a_merge_is_undone(clinic: Clinic, messages: Messages) -> None:
    clinic.arrive()
    answered(messages, header("ADT^A40", "5", "20260301120000+0000"), pid("NEW", "Right^Person"), mrg("SYN-1"))
    undone = header("ADT^A37", "6", "20260302120000+0000")
    assert answered(messages, undone, pid("NEW", "Right^Person"), pid("SYN-1")) == ("AA", "")
    assert told(clinic).get("PatientID", "SYN-1") == "SYN-1"


def order(
    kind: str = "ORM^O01", control: str = "7", obr: str = "", tq1: str = "", orc: str = "NW|P1|F1", **who: str
) -> list[str]:
    """An order of the clinic's study, of visit V1 and account K1."""
    patient = f"{pid(**who)}||||||||||K1"
    visit = "PV1|1" + "|" * 18 + "V1"
    segments = [header(kind, control), patient, visit, f"ORC|{orc}", obr or f"OBR|1|P1|F1|CT{'|' * 14}{ACCESSION}"]
    return [*segments, tq1] if tq1 else segments


@pytest.mark.parametrize(
    "told",
    [
        {"tq1": "TQ1|1||||||||S"},
        {"obr": f"OBR|1|P1|F1|CT|S{'|' * 13}{'A1'}"},
        {"obr": f"OBR|1|P1|F1|CT{'|' * 14}A1{'|' * 9}^^^^^S"},
        {"orc": "NW|P1|F1||||^^^^^S"},
        {"kind": "OMG^O19", "tq1": "TQ1|1||||||||S^stat^HL70485"},
    ],
)
def test_an_urgent_order_moves_the_jobs_of_its_study(clinic: Clinic, messages: Messages, told: dict[str, str]) -> None:
    clinic.arrive(with_accession())
    orders.link(clinic.database, 1, ACCESSION, "")
    job_id = clinic.plan(priority=Priority.ROUTINE)
    assert answered(messages, *order(**told)) == ("AA", "")
    found = clinic.ledger.job(job_id)
    assert found is not None
    assert (found.priority, found.priority_source) == (Priority.STAT, f"order {ACCESSION} (hl7:ADT1|GENERAL)")


def test_an_order_that_comes_before_its_images_counts_whoever_they_say_issued_it(
    clinic: Clinic, messages: Messages
) -> None:
    answered(messages, *order(tq1="TQ1|1||||||||S"))
    clinic.arrive(with_accession())
    orders.link(clinic.database, 1, ACCESSION, "RIS")
    found = clinic.ledger.job(clinic.plan(priority=Priority.ROUTINE))
    assert found is not None
    assert found.priority == Priority.STAT


def test_an_accession_number_of_somebody_elses_images_is_no_order(clinic: Clinic, messages: Messages) -> None:
    clinic.arrive(with_accession())
    code, text = answered(messages, *order(tq1="TQ1|1||||||||S", number="STRANGER"))
    assert (code, "another patient" in text) == ("AE", True)


@pytest.mark.parametrize(("trigger", "of"), [("A45", "|||V1"), ("A44", "|K1")])
def test_studies_of_a_visit_or_account_follow_to_another_patient(
    clinic: Clinic, messages: Messages, trigger: str, of: str
) -> None:
    clinic.arrive(with_accession())
    answered(messages, *order())
    orders.link(clinic.database, 1, ACCESSION, "")
    other = answered(messages, header(f"ADT^{trigger}", "8"), pid("NEW", "Right^Person"), f"{mrg('SYN-1')}|{of}9")
    assert other == ("AA", "")
    assert told(clinic).get("PatientID", "SYN-1") == "SYN-1"
    assert answered(messages, header(f"ADT^{trigger}", "9"), pid("NEW", "Right^Person"), f"{mrg('SYN-1')}|{of}") == (
        "AA",
        "",
    )
    assert told(clinic)["PatientID"] == "NEW"
    assert told(clinic)["PatientName"] == "Right^Person"
    assert open_items.listed(clinic.database) == ()


def test_whether_a_study_is_of_a_visit_that_moved_a_person_is_asked(clinic: Clinic, messages: Messages) -> None:
    clinic.arrive()
    assert answered(messages, header("ADT^A45"), pid("NEW", "Right^Person"), f"{mrg('SYN-1')}||||V1")[0] == "AA"
    (item,) = open_items.listed(clinic.database)
    assert (item.kind, "V1" in item.reason) == ("identity", True)
    assert told(clinic).get("PatientID", "SYN-1") == "SYN-1"


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
        ((header("ADT^A39"), pid()), "AR", "not followed"),
        ((header("ADT^A45"), pid("NEW"), mrg("SYN-1")), "AE", "no MRG-5"),
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
    large = obx("33914-3", "88", UNIT).replace("||88", "||" + "8" * 70_000)
    assert answered(messages, header("ORU^R01"), pid(), "OBR|1", large)[0] == "AE"


def test_messages_that_come_together_stand_and_fall_each_by_itself(clinic: Clinic, messages: Messages) -> None:
    made = [
        message(header("ADT^A04", str(number)), pid(f"T{number}", of="ELSEWHERE" if number == 2 else AUTHORITY))
        for number in range(5)
    ]
    answers = messages.answers([*made, b"garbage", made[0]])
    assert [parse(each).first("MSA").field(1) for each in answers] == ["AA", "AA", "AE", "AA", "AA", "AE", "AA"]
    features = Features(clinic.database)
    assert [features.find("HOSP", f"T{number}") is not None for number in range(5)] == [True, True, False, True, True]


def test_what_cannot_be_committed_is_never_answered_with_aa(
    clinic: Clinic, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("disk I/O error"))

    monkeypatch.setattr(Connection, "_commit_impl", fails)
    answers = messages.answers([message(header("ADT^A04", str(number)), pid(f"T{number}")) for number in range(3)])
    assert [parse(each).first("MSA").field(1) for each in answers] == ["AE"] * 3
    monkeypatch.undo()
    assert Features(clinic.database).find("HOSP", "T0") is None
    assert answered(messages, header("ADT^A04", "0"), pid("T0")) == ("AA", "")
