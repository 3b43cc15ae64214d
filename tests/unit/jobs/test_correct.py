"""The corrector: results follow what happened to their patients, studies and images, each once.

It goes on where one cannot be taken back or written anew.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from result_cases import series
from studies_of_results import RULE, Clinic

from dicom_node.archive import identities, notices, open_items
from dicom_node.archive.identities import IdentityEvent, Kind, Patient
from dicom_node.jobs.correct import Corrector
from dicom_node.settings import NodeSettings, PeerSettings, RuleSettings, Settings


def settings(data_dir: Path, **peer: object) -> Settings:
    entry = PeerSettings.model_validate({"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1, **peer})
    rule = RuleSettings(name=RULE, model="ct_lung_density", send_to=("pacs",))
    return Settings(node=NodeSettings(data_dir=data_dir), peers=(entry,), rules=(rule,))


def to_withdraw(clinic: Clinic, job_id: int, key: str = "k") -> None:
    with clinic.database.write() as connection:
        open_items.open_(connection, key, open_items.WITHDRAW, 1, job_id, "its images were rejected", "nothing")


@pytest.mark.parametrize(("understands", "kind"), [(True, "Key Object"), (False, "Basic Text SR")])
def test_a_delivered_result_is_taken_back_in_the_way_the_peer_understands(
    clinic: Clinic, *, understands: bool, kind: str
) -> None:
    job_id = clinic.result(destinations=("pacs",))
    clinic.deliver("pacs")
    to_withdraw(clinic, job_id)
    corrector = Corrector(settings(clinic.data_dir, rejection_notes=understands), clinic.database)
    assert [corrector.tick(), corrector.tick()] == [1, 0]
    assert clinic.standings() == ["withdrawn"]
    assert open_items.listed(clinic.database) == ()
    assert kind in clinic.sent("withdrawal")["pacs"].SOPClassUID.name


def test_what_a_person_is_to_decide_is_left_alone(clinic: Clinic) -> None:
    job_id = clinic.result()
    with clinic.database.write() as connection:
        open_items.open_(connection, "k", "rejected", 1, job_id, "images were rejected", "decide")
    assert Corrector(settings(clinic.data_dir), clinic.database).tick() == 0
    assert clinic.standings() == ["current"]
    assert len(open_items.listed(clinic.database)) == 1


def test_one_that_cannot_be_taken_back_is_told_once_and_stops_no_other(
    clinic: Clinic, caplog: pytest.LogCaptureFixture
) -> None:
    clinic.arrive()
    broken = clinic.plan()  # it has no result
    to_withdraw(clinic, broken)
    corrector = Corrector(settings(clinic.data_dir), clinic.database)
    assert [corrector.tick(), corrector.tick()] == [0, 0]
    assert len([each for each in caplog.records if "cannot be withdrawn" in each.message]) == 1
    assert len(open_items.listed(clinic.database)) == 1


@pytest.fixture
def corrector(clinic: Clinic) -> Corrector:
    peers = tuple(
        PeerSettings(name=name, ae_title=name.upper(), host="127.0.0.1", port=1, rejection_notes=name == "pacs")
        for name in ("pacs", "reading")
    )
    return Corrector(Settings(node=NodeSettings(data_dir=clinic.data_dir), peers=peers), clinic.database)


def tell(clinic: Clinic, kind: Kind, number: int = 1, **told: Any) -> None:
    at = datetime(2026, 3, 1, 12, number, tzinfo=UTC)
    identities.take(clinic.database, IdentityEvent(f"E{number}", "hl7:ADT1", at, kind, **told), "test")


def patients(clinic: Clinic) -> set[str]:
    """Those that results name that are sent, or were."""
    current = [parcel.id for parcel in clinic.parcels.all() if parcel.state != "cancelled"]
    assert current
    return {str(dataset.PatientID) for dataset in clinic.sent("result").values()}


def test_a_delivered_result_follows_a_merge_and_its_undoing(clinic: Clinic, corrector: Corrector) -> None:
    clinic.result()
    clinic.deliver("pacs", "reading")
    tell(clinic, Kind.MERGE, patient=Patient("SYN-1"), into=Patient("P-NEW"), values={"PatientName": "Right^Person"})
    assert corrector.tick() == 1
    assert patients(clinic) == {"P-NEW"}
    assert sorted(clinic.states("withdrawal")) == [("pacs", "due"), ("reading", "due")]
    assert corrector.tick() == 0
    tell(clinic, Kind.UNLINK, 2, patient=Patient("SYN-1"))
    assert corrector.tick() == 1
    found = clinic.sent("result")["pacs"]
    assert (found.PatientID, str(found.PatientName)) == ("SYN-1", str(series()[0].PatientName))
    assert clinic.standings() == ["reissued", "reissued", "current"]


def test_a_notice_follows_too(clinic: Clinic, corrector: Corrector) -> None:
    clinic.arrive()
    clinic.refuse(clinic.plan())
    (found,) = notices.wanting(clinic.database, ["lungs"])
    notices.issue(clinic.database, clinic.desk, found, ["pacs"], "test")
    tell(clinic, Kind.MERGE, patient=Patient("SYN-1"), into=Patient("P-NEW"))
    assert corrector.tick() == 1
    assert clinic.states("notice") == [("pacs", "cancelled"), ("pacs", "due")]
    assert clinic.sent("notice")["pacs"].PatientID == "P-NEW"


def test_what_cannot_be_written_anew_is_tried_again(
    clinic: Clinic, corrector: Corrector, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = clinic.result()
    file = clinic.data_dir / clinic.ledger.artifacts(job_id)[0].path
    content = file.read_bytes()
    file.unlink()
    tell(clinic, Kind.MERGE, patient=Patient("SYN-1"), into=Patient("P-NEW"))
    assert [corrector.tick(), corrector.tick()] == [0, 0]
    assert caplog.text.count("results cannot follow event E1 of hl7:ADT1") == 1
    file.write_bytes(content)
    assert corrector.tick() == 1


def test_images_that_are_sent_again_in_another_study(clinic: Clinic, corrector: Corrector) -> None:
    clinic.result()
    clinic.deliver("pacs", "reading")
    clinic.arrive(series(StudyInstanceUID="1.2.99", PatientID="P-NEW"))
    corrector.tick()
    assert clinic.standings() == ["withdrawn"]
    assert sorted(clinic.states("withdrawal")) == [("pacs", "due"), ("reading", "due")]


def test_a_job_whose_images_were_sent_again_in_another_study_is_cancelled(clinic: Clinic) -> None:
    clinic.arrive()
    job_id = clinic.plan()
    clinic.claim(job_id)
    clinic.arrive(series(StudyInstanceUID="1.2.99", PatientID="P-NEW"))
    job = clinic.ledger.job(job_id)
    assert job is not None
    assert (str(job.state), job.progress[:26]) == ("cancelled", "its images were sent again")
