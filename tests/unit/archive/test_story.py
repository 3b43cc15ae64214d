"""A study's story, read from the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stories import Writer, at, full_ledger, new_ledger

from dicom_node.archive.story import history, job_story, story


@pytest.fixture
def told(tmp_path: Path) -> dict[str, Any]:
    database, ids = full_ledger(tmp_path)
    return {name: story(database, study_id) for name, study_id in ids.items()}


def test_a_delivered_study_tells_its_whole_way(told: dict[str, Any], tmp_path: Path) -> None:
    study = told["delivered"]
    assert study["study_uid"] == "1.2.826.0.1.1"
    assert (study["patient_id"], study["accession_number"], study["description"]) == ("PAT001", "ACC001", "CT chest")
    assert [(series["number"], series["instances"]) for series in study["series"]] == [(1, 2), (2, 30)]
    assert study["series"][1]["evidence"]["reason"] == "30 slices without a gap, quiet for 30 s"
    (job,) = study["jobs"]
    assert (job["state"], job["result"], job["attempt"]) == ("done", "current", 1)
    assert job["chosen"] == ["series 2 is the only match"]
    assert job["measurements"][0] | {"method": ""} == {
        "name": "volume",
        "meaning": "Volume",
        "of": ["Right lung"],
        "value": 2871.4,
        "unit": "mL",
        "unit_shown": "mL",
        "method": "",
        "uncertainty": None,
        "state": "proposed",
    }
    assert job["evaluations"][0]["presence"] == "not evaluated"
    assert [made["path"] for made in job["artifacts"]] == [f"{tmp_path}/results/1/{kind}.dcm" for kind in ("seg", "sr")]
    assert [(parcel["destination"], parcel["state"]) for parcel in study["parcels"]] == [("pacs", "sent")]


def test_stages_are_timed(told: dict[str, Any]) -> None:
    took = {stage["stage"]: stage["seconds"] for stage in told["delivered"]["stages"]}
    assert took == {
        "reception": 1.0,
        "completion and rules": 31.0,
        "queue": 1.0,
        "worker": 4.0,
        "worker: load": 0.4,
        "worker: infer": 2.6,
        "worker: write": 0.8,
        "delivery: pacs": 1.0,
    }


def test_every_situation_is_named(told: dict[str, Any]) -> None:
    assert {name: study["standing"] for name, study in told.items()} == {name: name for name in told}


def test_trouble_is_told_with_what_to_do(told: dict[str, Any]) -> None:
    assert told["failed"]["jobs"][0]["error"] == {
        "reason": "model-raised",
        "message": "ZeroDivisionError in the model",
        "remedy": "report it",
    }
    assert told["undelivered"]["parcels"][0]["error"]["remedy"] == "start it"
    assert [found["reason"] for found in told["held"]["problems"]] == ["other pixels under the same SOP Instance UID"]


def test_nobody_is_named(told: dict[str, Any]) -> None:
    assert "Doe" not in json.dumps(told)


def test_a_story_is_plain_data(told: dict[str, Any]) -> None:
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_what_a_newer_result_replaced_does_not_decide_where_a_study_stands(tmp_path: Path) -> None:
    database = new_ledger(tmp_path)
    with database.write() as connection:
        writer = Writer(connection)
        study = writer.study(1)
        series = writer.series(study, 1)
        old, new = (writer.job(study, series, "done", key=key) for key in "ab")
        writer.parcel(study, writer.result(old, "superseded"), "held", error={"message": "a newer result replaces it"})
        writer.parcel(study, writer.result(new), "sent")
    told = story(database, study)
    assert told["standing"] == "delivered"
    assert [job["result"] for job in told["jobs"]] == ["superseded", "current"]


def test_series_without_a_number_come_last(tmp_path: Path) -> None:
    database = new_ledger(tmp_path)
    with database.write() as connection:
        writer = Writer(connection)
        study = writer.study(1)
        for uid, attributes in (("none", {}), ("ten", {"SeriesNumber": 10.0}), ("two", {"SeriesNumber": 2.0})):
            writer.series(study, 0, series_uid=uid, attributes=attributes)
    assert [series["series_uid"] for series in story(database, study)["series"]] == ["two", "ten", "none"]


def test_history_is_in_order(tmp_path: Path) -> None:
    database, ids = full_ledger(tmp_path)
    events = history(database, ids["delivered"])
    assert [event["kind"] for event in events] == ["job planned", "job started", "job done", "parcel sent"]
    assert events[2]["detail"] == {"attempt": 1, "results": ["seg", "sr"]}
    assert str(events[0]["at"]).endswith("Z")


def test_one_job(tmp_path: Path) -> None:
    database, _ = full_ledger(tmp_path)
    told = job_story(database, 1)
    assert told is not None
    assert [event["kind"] for event in told["events"]] == ["job planned", "job started", "job done"]
    assert len(told["measurements"]) == 4
    assert job_story(database, 99) is None


def test_a_study_that_only_began(tmp_path: Path) -> None:
    database = new_ledger(tmp_path)
    with database.write() as connection:
        study = Writer(connection).study(
            1, state="open", readiness={}, last_received=at(0), attributes={"PatientID": ""}
        )
    told = story(database, study)
    assert (told["series"], told["jobs"], told["parcels"]) == ([], [], [])
    assert told["stages"] == [{"stage": "reception", "seconds": 0.0}]
