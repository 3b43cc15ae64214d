"""What objects of ours bear of patient, study and order, after others have corrected it."""

from __future__ import annotations

from pydicom.dataset import Dataset
from result_cases import series
from sqlalchemy import insert, select, update
from studies_of_results import RULE, Clinic

from dicom_node.archive import notices, schema
from dicom_node.archive.truth import Truth, said_by


def merged_into(clinic: Clinic, patient_id: str, name: str) -> None:
    """The patient of the study is merged into another one."""
    identity = schema.identity
    with clinic.database.write() as connection:
        old = connection.execute(select(identity)).one()
        values = {"site_id": 1, "issuer": "HOSPITAL", "patient_id": patient_id, "revision": 1, "source": "hl7"}
        values |= {"attributes": {"PatientName": name}, "changed_at": old.changed_at}
        new = connection.execute(insert(identity).values(values).returning(identity.c.id)).scalar_one()
        connection.execute(update(identity).where(identity.c.id == old.id).values(replaced_by=new))


def truth(clinic: Clinic) -> Truth:
    with clinic.database.read() as connection:
        return Truth.of(connection, 1)


def test_without_a_correction_the_images_are_right(clinic: Clinic) -> None:
    (first, *_) = clinic.arrive()
    assert truth(clinic).differences(said_by(first)) == {}


def test_a_merge_gives_the_new_patient(clinic: Clinic) -> None:
    (first, *_) = clinic.arrive()
    merged_into(clinic, "P-NEW", "Right^Person")
    assert truth(clinic).differences(said_by(first)) == {"PatientID": "P-NEW", "PatientName": "Right^Person"}


def test_a_notice_after_a_merge_names_the_new_patient(clinic: Clinic) -> None:
    clinic.arrive()
    clinic.refuse(clinic.plan())
    merged_into(clinic, "P-NEW", "Ström^Åsa")
    (found,) = notices.wanting(clinic.database, [RULE])
    assert notices.issue(clinic.database, clinic.desk, found, ["pacs"], "test")
    note = clinic.sent("notice")["pacs"]
    assert (note.PatientID, str(note.PatientName), note.SpecificCharacterSet) == ("P-NEW", "Ström^Åsa", "ISO_IR 192")


def test_re_sent_images_give_the_corrected_order(clinic: Clinic) -> None:
    (first, *_) = clinic.arrive()
    before = Dataset()
    before.update(first)
    clinic.arrive(series(AccessionNumber="A-2"))
    assert truth(clinic).differences(said_by(before)) == {"AccessionNumber": "A-2"}


def test_a_circle_of_merges_ends(clinic: Clinic) -> None:
    clinic.arrive()
    identity = schema.identity
    with clinic.database.write() as connection:
        connection.execute(update(identity).values(replaced_by=identity.c.id))
    assert truth(clinic).told == {}
