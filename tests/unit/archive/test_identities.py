"""What authorities tell is taken once, in order, and reaches jobs, parcels and results."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from result_cases import series
from sqlalchemy import select
from studies_of_results import Clinic

from dicom_node.archive import identities, schema
from dicom_node.archive.identities import IdentityEvent, Kind, Patient
from dicom_node.archive.truth import Truth
from dicom_node.domain.job import JobState
from dicom_node.errors import LedgerError

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OLD, NEW = Patient("SYN-1"), Patient("P-NEW")


def event(kind: Kind, number: int = 1, minutes: float = 0, **told: Any) -> IdentityEvent:
    return IdentityEvent(f"E{number}", "hl7:ADT1", NOON + timedelta(minutes=minutes), kind, **told)


def take(clinic: Clinic, told: IdentityEvent) -> tuple[int, ...] | None:
    return identities.take(clinic.database, told, "test")


def told(clinic: Clinic, *series_ids: int) -> dict[str, str]:
    with clinic.database.read() as connection:
        return dict(Truth.of(connection, 1, series_ids).told)


def merge(**more: Any) -> IdentityEvent:
    return event(Kind.MERGE, **{"patient": OLD, "into": NEW, "values": {"PatientName": "Right^Person"}, **more})


def test_a_merge_and_its_undoing(clinic: Clinic) -> None:
    clinic.arrive()
    assert take(clinic, merge()) == (1,)
    assert told(clinic) == {"PatientID": "P-NEW", "IssuerOfPatientID": "", "PatientName": "Right^Person"}
    assert take(clinic, event(Kind.UNLINK, 2, 1, patient=OLD)) == (1,)
    assert told(clinic) == {}
    assert clinic.events().count("identity corrected") == 2


def test_merges_of_merges_lead_to_the_last(clinic: Clinic) -> None:
    clinic.arrive()
    take(clinic, merge())
    assert take(clinic, event(Kind.MERGE, 2, 1, patient=NEW, into=Patient("P-LAST"))) == (1,)
    assert told(clinic)["PatientID"] == "P-LAST"


def test_a_merge_that_is_told_before_the_images_counts_for_them(clinic: Clinic) -> None:
    assert take(clinic, merge()) == ()
    clinic.arrive()
    assert told(clinic)["PatientID"] == "P-NEW"


def test_the_same_event_counts_once(clinic: Clinic) -> None:
    clinic.arrive()
    take(clinic, merge())
    assert take(clinic, merge()) is None
    with pytest.raises(LedgerError, match="event E1 of hl7:ADT1 was taken before and said something else"):
        take(clinic, merge(into=Patient("P-OTHER")))
    assert take(clinic, IdentityEvent("E1", "hl7:ADT2", NOON, Kind.UPDATE, OLD, values={"PatientSex": "O"})) == (1,)


def test_what_is_older_than_what_is_known_is_refused(clinic: Clinic) -> None:
    clinic.arrive()
    take(clinic, merge(minutes=10))
    with pytest.raises(LedgerError, match="E2 of hl7:ADT1 is older than event E1 of hl7:ADT1"):
        take(clinic, event(Kind.UNLINK, 2, 5, patient=OLD))
    assert take(clinic, event(Kind.UPDATE, 3, 5, patient=OLD, values={"PatientSex": "O"})) == (1,)  # another matter
    assert told(clinic)["PatientID"] == "P-NEW"


def test_a_circle_is_refused(clinic: Clinic) -> None:
    clinic.arrive()
    take(clinic, merge())
    with pytest.raises(LedgerError, match="circle"):
        take(clinic, event(Kind.MERGE, 2, 1, patient=NEW, into=OLD))
    with pytest.raises(LedgerError, match="circle"):
        take(clinic, event(Kind.MERGE, 3, 1, patient=OLD, into=OLD))


def test_an_authority_counts_before_images(clinic: Clinic) -> None:
    clinic.arrive()
    take(clinic, event(Kind.UPDATE, patient=OLD, values={"PatientName": "Told^Name"}))
    clinic.arrive(series(PatientName="Other^Name"))
    assert told(clinic)["PatientName"] == "Told^Name"


def test_a_study_that_is_moved(clinic: Clinic) -> None:
    (first, *_) = clinic.arrive()
    values = {"AccessionNumber": "A-9", "StudyInstanceUID": "1.2.99", "PatientName": "Right^Person"}
    moved = event(Kind.MOVE, into=NEW, study_uid=str(first.StudyInstanceUID), values=values)
    assert take(clinic, moved) == (1,)
    assert told(clinic) == {"PatientID": "P-NEW", "IssuerOfPatientID": "", **values}
    # The patient it was moved to is merged afterwards.
    assert take(clinic, event(Kind.MERGE, 2, 1, patient=NEW, into=Patient("P-LAST"))) == (1,)
    assert told(clinic)["PatientID"] == "P-LAST"


def test_an_order_by_its_accession_number(clinic: Clinic) -> None:
    clinic.arrive()
    assert take(clinic, event(Kind.UPDATE, accession_number="A-1", values={"AccessionNumber": "A-2"})) == (1,)
    assert told(clinic) == {"AccessionNumber": "A-2"}


def test_series_that_are_moved_concern_themselves_alone(clinic: Clinic) -> None:
    (first, *_) = clinic.arrive()
    other = series(SeriesInstanceUID="1.2.3.4.5")
    for number, image in enumerate(other):
        image.SOPInstanceUID = f"1.2.3.4.5.{number}"
    clinic.arrive(other)
    study_uid = str(first.StudyInstanceUID)
    take(clinic, event(Kind.MOVE, study_uid=study_uid, series_uids=("1.2.3.4.5",), values={"AccessionNumber": "A-2"}))
    assert (told(clinic, 1), told(clinic, 2)) == ({}, {"AccessionNumber": "A-2"})
    with clinic.database.read() as connection:
        assert Truth.of(connection, 1, (1, 2)).divided


def two_series_job(clinic: Clinic) -> tuple[int, str]:
    """A job that reads two series, and the study."""
    (first, *_) = clinic.arrive()
    other = series(SeriesInstanceUID="1.2.3.4.5")
    for number, image in enumerate(other):
        image.SOPInstanceUID = f"1.2.3.4.5.{number}"
    clinic.arrive(other)
    job_id = clinic.plan()
    with clinic.database.write() as connection:
        inputs = {
            "ct": {"series": 1, "series_uid": str(first.SeriesInstanceUID), "instances": [1, 2]},
            "other": {"series": 2, "series_uid": "1.2.3.4.5", "instances": [5, 6]},
        }
        connection.execute(schema.job.update().values(inputs=inputs))
    return job_id, str(first.StudyInstanceUID)


def split(study_uid: str) -> IdentityEvent:
    values = {"StudyInstanceUID": "1.2.99"}
    return event(Kind.MOVE, study_uid=study_uid, series_uids=("1.2.3.4.5",), values=values)


def test_a_job_whose_images_belong_to_two_studies_is_cancelled(clinic: Clinic) -> None:
    job_id, study_uid = two_series_job(clinic)
    claim = clinic.claim(job_id)
    take(clinic, split(study_uid))
    job = clinic.ledger.job(job_id)
    assert job is not None
    assert job.state == JobState.CANCELLED
    assert not clinic.ledger.heartbeat(claim, 60, "infer")


def test_a_result_of_images_in_two_studies_is_to_be_withdrawn(clinic: Clinic) -> None:
    job_id = clinic.result()
    with clinic.database.write() as connection:
        (row,) = connection.execute(select(schema.series)).all()
        made = connection.execute(
            schema.series.insert()
            .values({**row._mapping, "id": row.id + 1, "series_uid": "1.2.3.4.5"})
            .returning(schema.series.c.id)
        ).scalar_one()
        inputs = {
            "ct": {"series": 1, "series_uid": row.series_uid, "instances": [1]},
            "b": {"series": made, "series_uid": "1.2.3.4.5", "instances": [2]},
        }
        connection.execute(schema.job.update().values(inputs=inputs))
        study_uid = connection.execute(select(schema.study.c.study_uid)).scalar_one()
    take(clinic, split(study_uid))
    with clinic.database.read() as connection:
        (item,) = connection.execute(select(schema.open_item)).all()
    assert (item.kind, item.job_id) == ("withdraw", job_id)


def test_parcels_that_the_node_held_are_looked_at_again(clinic: Clinic) -> None:
    clinic.result()
    with clinic.database.write() as connection:
        held = schema.parcel.update().where(schema.parcel.c.id == 1)
        connection.execute(held.values(state="held", error={"reason": "record-differs", "message": "", "remedy": ""}))
    clinic.parcels.hold(2, "admin")
    take(clinic, merge())
    assert clinic.states() == [("pacs", "due"), ("reading", "held")]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (event(Kind.MERGE, patient=OLD), "the patient that stays"),
        (event(Kind.MERGE, into=NEW), "the patient"),
        (event(Kind.MOVE, into=NEW), "a study or an accession number"),
        (event(Kind.UPDATE, patient=OLD), "what is so from now on"),
        (event(Kind.MOVE, accession_number="A-1", series_uids=("1.2",), into=NEW), "one study for its series"),
        (IdentityEvent("", "x", NOON, Kind.UNLINK, OLD), "an id and a source"),
        (event(Kind.MERGE, patient=OLD, into=Patient("A\\B")), "is no PatientID"),
        (event(Kind.MERGE, patient=OLD, into=Patient("A" * 65)), "is no PatientID"),
        (event(Kind.UPDATE, accession_number="A-1", values={"AccessionNumber": "A" * 17}), "is no AccessionNumber"),
        (event(Kind.MOVE, study_uid="1.2", values={"StudyInstanceUID": "1.02"}), "is no StudyInstanceUID"),
        (event(Kind.UPDATE, patient=OLD, values={"AccessionNumber": "A-1"}), "AccessionNumber cannot be corrected"),
        (event(Kind.MOVE, study_uid="1.2", values={"PatientName": "X"}), "PatientName cannot be corrected"),
        (event(Kind.MOVE, study_uid="1.2.3.4", into=NEW, values={"PatientName": "X"}), "there is no study"),
        (event(Kind.UNLINK, patient=Patient("NOBODY")), "no patient 'NOBODY' is known"),
        (event(Kind.MOVE, accession_number="A-1", into=NEW), "whose name is not known"),
    ],
)
def test_what_is_incomplete_or_wrong_is_refused_whole(clinic: Clinic, wrong: IdentityEvent, why: str) -> None:
    clinic.arrive()
    with pytest.raises(LedgerError, match=why.replace("\\", "\\\\")):
        take(clinic, wrong)
    assert told(clinic) == {}
    with clinic.database.read() as connection:
        assert connection.execute(select(schema.identity_event)).all() == []


def test_a_time_without_a_zone_is_refused(clinic: Clinic) -> None:
    with pytest.raises(ValueError, match="aware"):
        take(clinic, IdentityEvent("E1", "x", NOON.replace(tzinfo=None), Kind.UNLINK, OLD))


def test_an_event_is_open_until_results_follow(clinic: Clinic) -> None:
    clinic.arrive()
    take(clinic, merge())
    (found,) = identities.unreached(clinic.database)
    assert (found.event_id, found.source, found.studies) == ("E1", "hl7:ADT1", (1,))
    identities.reached(clinic.database, found.id)
    assert identities.unreached(clinic.database) == ()
