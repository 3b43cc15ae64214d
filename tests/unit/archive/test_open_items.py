"""The work list: each matter is opened once, closed once, and counted while it is open."""

from __future__ import annotations

import pytest
from studies_of_results import Clinic

from dicom_node.archive import open_items
from dicom_node.errors import LedgerError


def opened(clinic: Clinic, key: str = "k", kind: str = "rejected", job_id: int | None = None) -> None:
    with clinic.database.write() as connection:
        open_items.open_(connection, key, kind, 1, job_id, "images were rejected", "read the study again")


def counted(clinic: Clinic, *studies: int) -> dict[int, int]:
    with clinic.database.read() as connection:
        return open_items.counts(connection, studies or None)


def test_a_matter_is_opened_once_however_often_it_is_found(clinic: Clinic) -> None:
    clinic.arrive()
    opened(clinic)
    opened(clinic)
    (found,) = open_items.listed(clinic.database)
    assert (found.kind, found.reason, found.remedy) == ("rejected", "images were rejected", "read the study again")
    assert found.study_id == 1
    assert clinic.events().count("item opened") == 1


def test_what_was_closed_is_not_opened_again(clinic: Clinic) -> None:
    clinic.arrive()
    opened(clinic)
    open_items.close_by_hand(clinic.database, 1, "admin")
    opened(clinic)
    assert open_items.listed(clinic.database) == ()
    with pytest.raises(LedgerError, match="no open item 1"):
        open_items.close_by_hand(clinic.database, 1, "admin")
    assert clinic.events().count("item closed") == 1


def test_they_are_found_by_kind_and_by_study_the_oldest_first(clinic: Clinic) -> None:
    clinic.arrive()
    opened(clinic, "a")
    opened(clinic, "b", kind=open_items.WITHDRAW)
    assert [each.kind for each in open_items.listed(clinic.database)] == ["rejected", open_items.WITHDRAW]
    assert [each.id for each in open_items.listed(clinic.database, kind=open_items.WITHDRAW)] == [2]
    assert [each.id for each in open_items.listed(clinic.database, study_id=1)] == [1, 2]
    assert open_items.listed(clinic.database, study_id=2) == ()


def test_what_concerns_a_job_is_closed_with_its_result(clinic: Clinic) -> None:
    job_id = clinic.result()
    opened(clinic, "a", job_id=job_id)
    opened(clinic, "b")
    with clinic.database.write() as connection:
        open_items.close_of_job(connection, job_id, "corrector")
    assert [each.job_id for each in open_items.listed(clinic.database)] == [None]


def test_open_ones_are_counted_by_study(clinic: Clinic) -> None:
    clinic.arrive()
    assert counted(clinic) == {}
    opened(clinic, "a")
    opened(clinic, "b")
    assert (counted(clinic), counted(clinic, 1), counted(clinic, 2)) == ({1: 2}, {1: 2}, {})
    open_items.close_by_hand(clinic.database, 2, "admin")
    assert counted(clinic) == {1: 1}
