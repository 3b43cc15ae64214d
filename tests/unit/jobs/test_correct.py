"""The corrector takes back results by itself, each once, and goes on where one cannot be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies_of_results import RULE, Clinic

from dicom_node.archive import open_items
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
