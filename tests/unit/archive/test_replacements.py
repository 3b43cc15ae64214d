"""Results are made anew by a job that names the one it replaces; then that is taken back, once."""

from __future__ import annotations

from typing import Any

import pytest
from result_cases import series
from sqlalchemy import select
from studies_of_results import Clinic

from dicom_node.archive import replacements, schema
from dicom_node.archive.replacements import Model, Replacement
from dicom_node.archive.withdrawals import Withdrawal, withdraw
from dicom_node.domain.fitness import NO_NEEDS
from dicom_node.domain.job import JobState
from dicom_node.domain.rejection import Title
from dicom_node.errors import LedgerError

INSTALLED = Model("ct_lung_density", "0.2.0", "other digest", NO_NEEDS)
NOTES = ["pacs"]


def replace(clinic: Clinic, job_id: int, model: Model = INSTALLED) -> tuple[int, bool]:
    wanted = Replacement(job_id, "recalled", Title.PATIENT_SAFETY)
    return replacements.replace(clinic.database, wanted, model, "admin")


def settle(clinic: Clinic) -> int:
    return replacements.settle(clinic.database, clinic.desk, NOTES, "test")


def test_a_job_like_the_first_is_planned_once(clinic: Clinic) -> None:
    first = clinic.result()
    number, fresh = replace(clinic, first)
    assert fresh
    assert replace(clinic, first) == (number, False)
    old, new = clinic.ledger.job(first), clinic.ledger.job(number)
    assert old is not None and new is not None
    assert (new.state, new.supersedes, new.model_version) == (JobState.QUEUED, first, "0.2.0")
    assert (new.inputs, new.destinations, new.rule) == (old.inputs, old.destinations, old.rule)
    assert new.key != old.key


def test_the_same_model_gives_another_issue(clinic: Clinic) -> None:
    first = clinic.result()
    old = clinic.ledger.job(first)
    assert old is not None
    same = Model(old.model, old.model_version, old.model_digest, NO_NEEDS)
    number, _ = replace(clinic, first, same)
    new = clinic.ledger.job(number)
    assert new is not None
    assert (new.state, new.issue) == (JobState.QUEUED, 2 if new.key == old.key else 1)


def test_the_old_result_is_taken_back_once_the_new_one_is_there(clinic: Clinic) -> None:
    images = series()
    first = clinic.result(images)
    clinic.deliver("pacs", "reading")
    number, _ = replace(clinic, first)
    assert settle(clinic) == 0
    assert clinic.standings() == ["current"]
    clinic.commit(number, images)
    assert settle(clinic) == 2
    assert settle(clinic) == 0
    assert clinic.standings() == ["superseded", "current"]
    told = clinic.sent("withdrawal")
    assert told["pacs"].ConceptNameCodeSequence[0].CodeValue == Title.PATIENT_SAFETY
    said = " ".join(item.TextValue for item in told["reading"].ContentSequence if item.ValueType == "TEXT")
    assert "Another result replaces it. Reason: recalled" in " ".join(said.split())


def test_a_withdrawn_result_can_be_replaced(clinic: Clinic) -> None:
    images = series()
    first = clinic.result(images)
    clinic.deliver("pacs")
    withdraw(clinic.database, clinic.desk, Withdrawal(first, "recalled"), NOTES, "admin")
    number, fresh = replace(clinic, first)
    assert fresh
    clinic.commit(number, images)
    assert settle(clinic) == 0  # everybody was told before
    assert clinic.standings() == ["withdrawn", "current"]


def test_a_replacement_in_vain_can_be_asked_for_again(clinic: Clinic) -> None:
    first = clinic.result()
    number, _ = replace(clinic, first)
    clinic.refuse(number)
    again, fresh = replace(clinic, first)
    assert fresh
    assert again != number
    assert clinic.standings() == ["current"]


def test_results_of_a_version_until_they_are_replaced(clinic: Clinic) -> None:
    images = series()
    first = clinic.result(images)
    assert replacements.of_version(clinic.database, "ct_lung_density", "0.1.0") == (first,)
    assert replacements.of_version(clinic.database, "ct_lung_density", "0.2.0") == ()
    number, _ = replace(clinic, first)
    clinic.commit(number, images)
    settle(clinic)
    assert replacements.of_version(clinic.database, "ct_lung_density", "0.1.0") == ()


def refused(clinic: Clinic, job_id: int, model: Model = INSTALLED) -> str:
    with pytest.raises(LedgerError) as caught:
        replace(clinic, job_id, model)
    return caught.value.message


def test_what_cannot_be_replaced_is_named(clinic: Clinic) -> None:
    assert refused(clinic, 99) == "there is no job 99"
    images = clinic.arrive()
    job_id = clinic.plan()
    assert refused(clinic, job_id) == f"job {job_id} has no result to replace"
    clinic.commit(job_id, images)
    assert "is of model ct_lung_density" in refused(clinic, job_id, Model("other", "1", "x", NO_NEEDS))
    number, _ = replace(clinic, job_id)
    clinic.commit(number, images)
    assert replace(clinic, job_id) == (number, False)  # it is replaced; nothing more is to be done


def planned_again(clinic: Clinic, **changed: Any) -> None:
    """The images are sent again with other attributes, and their result is there."""
    images = clinic.arrive(series(**changed))
    clinic.commit(clinic.plan(), images)


def test_images_that_were_sent_again_for_another_patient_take_the_old_result_back(clinic: Clinic) -> None:
    clinic.result()
    clinic.deliver("pacs", "reading")
    planned_again(clinic, PatientID="P-NEW", AccessionNumber="A-2")
    assert settle(clinic) == 2
    assert clinic.sent("withdrawal")["pacs"].ConceptNameCodeSequence[0].CodeValue == Title.WRONG_WORKLIST_ENTRY
    assert clinic.sent("result")["pacs"].PatientID == "P-NEW"
    assert settle(clinic) == 0


def test_late_images_of_the_same_patient_take_nothing_back(clinic: Clinic) -> None:
    clinic.result()
    clinic.deliver("pacs", "reading")
    planned_again(clinic, StudyDescription="Chest, again")
    assert settle(clinic) == 0
    assert clinic.states("withdrawal") == []
    with clinic.database.read() as connection:
        assert connection.execute(select(schema.job.c.settled).order_by(schema.job.c.id)).scalars().all() == [
            False,
            True,
        ]


def test_what_cannot_be_taken_back_is_a_matter_for_a_person(clinic: Clinic) -> None:
    images = series()
    first = clinic.result(images)
    clinic.deliver("pacs")
    planned_again(clinic, PatientID="P-NEW")
    for made in clinic.ledger.artifacts(first):
        (clinic.data_dir / made.path).unlink()
    assert [settle(clinic), settle(clinic)] == [0, 0]
    with clinic.database.read() as connection:
        (item,) = connection.execute(select(schema.open_item)).all()
    assert (item.kind, item.job_id) == ("not-taken-back", first)
    assert "cannot be told: our own file" in item.reason
