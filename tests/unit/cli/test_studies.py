"""``dicom-node studies``."""

from __future__ import annotations

from typing import Any

import pytest
from commands import RunCommand
from stories import Writer


def test_list(run: RunCommand, full: Any) -> None:
    ran = run("studies", "list")
    assert ran.status == 0
    lines = ran.output.splitlines()
    assert lines[0].split()[:4] == ["study", "patient", "accession", "date"]
    assert len(lines) == 1 + len(full.ids)
    assert lines[-1].split()[:4] == ["1", "PAT001", "ACC001", "2026-03-01"]
    assert lines[-1].endswith("results delivered to pacs")


def test_list_as_json(run: RunCommand, full: Any) -> None:
    data = run("studies", "list", "--limit", "2", "--json").json
    assert data["total"] == len(full.ids)
    assert [study["standing"] for study in data["studies"]] == ["held", "undelivered"]


def test_a_part_is_told_as_such(run: RunCommand, full: Any) -> None:
    assert run("studies", "list", "--limit", "2").output.endswith("2 of 8; more with --limit and --offset\n")


def test_find(run: RunCommand, full: Any) -> None:
    assert len(run("studies", "list", "--find", "ACC003", "--json").json["studies"]) == 1
    nothing = run("studies", "list", "--find", "nobody")
    assert (nothing.status, nothing.output) == (1, "no studies\n")


@pytest.mark.parametrize("name", ["1", "1.2.826.0.1.1", "PAT001", "ACC001"])
def test_a_study_goes_by_any_of_its_names(run: RunCommand, full: Any, name: str) -> None:
    assert run("studies", "show", name, "--json").json["study_uid"] == "1.2.826.0.1.1"


def test_show_tells_how_results_came_to_be(run: RunCommand, full: Any) -> None:
    ran = run("studies", "show", "ACC001")
    assert ran.status == 0
    for told in (
        "results delivered to pacs",
        "30 slices without a gap, quiet for 30 s",
        "chest CT: lungs: planned job 1",
        "series 2 is the only match",
        "Right lung  Volume       2871   mL",
        "Pulmonary emphysema: not evaluated. Slice Thickness is 5 mm",
        "results/1/seg.dcm",
        "worker: infer",
    ):
        assert told in ran.output


@pytest.mark.parametrize(
    ("situation", "told"),
    [
        ("unwanted", "none of 1 series matches"),
        ("failed", "ZeroDivisionError in the model"),
        ("running", "progress  infer"),
        ("arriving", "images are arriving"),
        ("undelivered", "connection refused"),
        ("held", "what to do   correct one"),
        ("held", "other pixels under the same SOP Instance UID"),
    ],
)
def test_show_tells_of_trouble(run: RunCommand, full: Any, situation: str, told: str) -> None:
    assert told in run("studies", "show", str(full.ids[situation])).output


def test_history(run: RunCommand, full: Any) -> None:
    data = run("studies", "history", "ACC001", "--json").json
    assert data["study_uid"] == "1.2.826.0.1.1"
    assert [event["kind"] for event in data["events"]] == ["job planned", "job started", "job done", "parcel sent"]
    assert "job done     box:4711" in run("studies", "history", "ACC001").output


def test_a_study_that_is_not_there_is_bad_news(run: RunCommand, full: Any) -> None:
    ran = run("studies", "show", "4711")
    assert (ran.status, ran.output) == (1, "")
    assert ran.error.splitlines() == ["error: there is no study '4711'", "       see: dicom-node studies list"]


def test_a_name_of_two_studies_shows_neither(run: RunCommand, full: Any) -> None:
    with full.database.write() as connection:
        Writer(connection).study(9, attributes={"PatientID": "PAT001"})
    ran = run("studies", "show", "PAT001")
    assert (ran.status, ran.output) == (1, "")
    assert "1.2.826.0.1.1, 1.2.826.0.1.9" in ran.error


def test_terminal_control_in_a_description_is_not_obeyed(run: RunCommand, full: Any) -> None:
    with full.database.write() as connection:
        Writer(connection).study(9, attributes={"StudyDescription": "a\x1b[2Jb\nc"})
    assert "a [2Jb c" in run("studies", "list").output
    assert "\x1b" not in run("studies", "show", "9").output


def test_close(run: RunCommand, full: Any) -> None:
    ran = run("studies", "close", str(full.ids["arriving"]))
    assert ran.status == 0
    assert "counts as whole" in ran.output
    told = run("studies", "show", str(full.ids["arriving"]), "--json").json
    assert told["state"] == "ready"


def test_resend(run: RunCommand, full: Any) -> None:
    assert run("studies", "resend", "1", "--json").json == {"parcels": [1]}
    (parcel,) = [each for each in run("parcels", "list", "--json").json["parcels"] if each["id"] == 1]
    assert (parcel["state"], parcel["taken"]) == ("due", [])
    assert run("studies", "resend", "1", "--to", "elsewhere").status == 1
