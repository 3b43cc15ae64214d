"""Results in another profile: encoded once, by a job of its own, whatever dies."""

import pydicom
from encoding_workers import DIGEST, encode_all, images, worker
from sqlalchemy import select
from studies_of_results import Clinic

from dicom_node.archive import encodings, schema
from dicom_node.archive.notices import wanting
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.withdrawals import Withdrawal, withdraw
from dicom_node.domain.job import Job, JobState, Priority
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.profile import Profile

BINARY, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"


def two_profiles(clinic: Clinic) -> tuple[int, Job]:
    """A result that one destination gets as a label map, the other one as BINARY; the job that encodes the latter."""
    taken = clinic.arrive(images())
    job_id = clinic.plan(model_digest=DIGEST, destinations=("new", "old"))
    clinic.commit(job_id, taken, profile=Profile.LABELMAP, profiles={"new": "labelmap", "old": "binary"})
    (waiting,) = clinic.ledger.jobs(states=(JobState.QUEUED,))
    return job_id, waiting


def sent(clinic: Clinic) -> dict[str, str]:
    """Destination -> SOP class of the Segmentation in its parcel."""
    return {each.destination: each.artifacts[0].sop_class for each in clinic.parcels.all()}


def sets(clinic: Clinic) -> list[tuple[str, str, str]]:
    table = schema.result_set
    with clinic.database.read() as connection:
        rows = connection.execute(select(table.c.profile, table.c.state, table.c.standing).order_by(table.c.id))
        return [tuple(row) for row in rows.all()]


def test_a_destination_gets_its_own_profile_once_it_is_encoded(clinic: Clinic) -> None:
    job_id, waiting = two_profiles(clinic)
    assert sent(clinic) == {"new": LABELMAP}
    assert (waiting.priority, waiting.needs.any, waiting.encodes is not None) == (Priority.STAT, False, True)
    assert waiting.parameters == {"profile": "binary", "of_job": job_id}
    assert encode_all(clinic) == ["done"]
    assert sent(clinic) == {"new": LABELMAP, "old": BINARY}
    assert sets(clinic) == [("labelmap", "encoded", "current"), ("binary", "encoded", "current")]
    uids = [made.sop_uid for parcel in clinic.parcels.all() for made in parcel.artifacts]
    assert len(set(uids)) == len(uids) == 4
    report = pydicom.dcmread(clinic.data_dir / clinic.parcels.all()[1].artifacts[1].path)
    seg = clinic.parcels.all()[1].artifacts[0]
    assert seg.sop_uid in str(report), "the report speaks of the Segmentation beside it"


def test_what_an_attempt_that_was_lost_has_encoded_counts_for_nothing(clinic: Clinic) -> None:
    _, waiting = two_profiles(clinic)
    slow = worker(clinic)
    frozen = clinic.ledger.claim(waiting.id, "box:1", 0.0)
    assert frozen is not None
    clinic.ledger.expire()
    assert slow.run(waiting.id) == "done"
    before = clinic.parcels.all()
    assert not clinic.ledger.heartbeat(frozen, 60, "encode")
    assert slow.run(waiting.id).startswith("not to be run")
    assert clinic.parcels.all() == before


def test_nobody_needs_what_was_withdrawn_meanwhile(clinic: Clinic) -> None:
    job_id, waiting = two_profiles(clinic)
    withdraw(clinic.database, Desk(clinic.desk.store, "NODE"), Withdrawal(job_id, "wrong"), (), "admin")
    assert encode_all(clinic) == ["superseded"]
    assert [state for _, state in clinic.states()] == [ParcelState.CANCELLED]
    assert encodings.order(clinic.database, waiting.encodes or 0) is None


def test_asked_for_again_it_is_encoded_once(clinic: Clinic) -> None:
    job_id, _ = two_profiles(clinic)
    with clinic.database.write() as connection:
        encodings.request(connection, job_id, Profile.BINARY, ["third"], "courier")
    assert encode_all(clinic) == ["done"]
    with clinic.database.write() as connection:
        encodings.request(connection, job_id, Profile.BINARY, ["third", "fourth"], "courier")
    assert sorted(sent(clinic)) == ["fourth", "new", "old", "third"]
    assert clinic.ledger.counts() == {"done": 2}


def test_its_failure_is_no_missing_result(clinic: Clinic) -> None:
    _, waiting = two_profiles(clinic)
    clinic.refuse(waiting.id)
    assert not wanting(clinic.database, ["lungs"])


def test_a_destination_whose_profiles_cannot_tell_the_findings_is_left_to_a_person(clinic: Clinic) -> None:
    taken = clinic.arrive(images())
    job_id = clinic.plan(destinations=("new", "old"))
    clinic.commit(job_id, taken, profiles={"new": "", "old": "binary"})
    assert clinic.states() == [("old", "due"), ("new", "refused")]
    refused = clinic.parcels.all()[1]
    assert refused.error is not None
    assert refused.error["reason"] == "no-profile"
    assert 'add "binary"' in refused.error["remedy"]
