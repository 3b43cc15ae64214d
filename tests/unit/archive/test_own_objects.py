"""What objects of our own are written from, and how they are kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from studies_of_results import Clinic

from dicom_node.archive import own_objects, schema
from dicom_node.archive.documents import note
from dicom_node.archive.own_objects import Occasion
from dicom_node.errors import HeaderError

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def row_of(clinic: Clinic, job_id: int) -> Any:
    with clinic.database.read() as connection:
        return connection.execute(select(schema.job).where(schema.job.c.id == job_id)).one()


def occasion(clinic: Clinic, job_id: int, **how: Any) -> Occasion:
    with clinic.database.read() as connection:
        return own_objects.occasion(connection, clinic.desk, row_of(clinic, job_id), **how)


def test_it_knows_images_and_results_of_a_job(clinic: Clinic) -> None:
    job_id = clinic.result()
    found = occasion(clinic, job_id)
    assert len(found.images) == 4
    assert [each.sop_uid for each in found.results] == [made.sop_uid for made in clinic.ledger.artifacts(job_id)]
    assert found.inherited.patient_and_study.PatientID == "SYN-1"
    assert occasion(clinic, job_id, set_id=1).results == found.results
    assert occasion(clinic, job_id, set_id=99).results == ()


def test_a_result_stands_in_for_lost_images_and_nothing_for_both(clinic: Clinic) -> None:
    job_id = clinic.result()
    for file in clinic.data_dir.glob("objects/*/*/*.dcm"):
        file.unlink()
    assert occasion(clinic, job_id).inherited.patient_and_study.PatientID == "SYN-1"
    for file in clinic.data_dir.glob("results/**/*.dcm"):
        file.write_bytes(b"no DICOM")
    with pytest.raises(HeaderError, match=f"no image of job {job_id} can be read"):
        occasion(clinic, job_id)


def test_the_same_purpose_has_the_same_uids(clinic: Clinic) -> None:
    found = occasion(clinic, clinic.result())
    one, again, other = (own_objects.identity(found, what, "x", NOW, None) for what in ("notice", "notice", "other"))
    assert (one.sop_uid, one.series_uid, one.series_number) == (again.sop_uid, again.series_uid, again.series_number)
    assert one.sop_uid != other.sop_uid
    assert 900_000 <= one.series_number < 990_000


def test_what_is_kept_is_named_by_its_content(clinic: Clinic) -> None:
    job_id = clinic.result()
    found = occasion(clinic, job_id)
    called = own_objects.identity(found, "notice", "NOTE", NOW, None)

    def keep(line: str) -> str:
        document = note(found.inherited, found.images, found.author, called, [line])
        return own_objects.keep(clinic.desk, found.row, "notice", document, ()).path

    assert keep("one") == keep("one")
    assert keep("one") != keep("two")
    assert (clinic.data_dir / keep("one")).stat().st_size > 0
