"""``dicom-node jobs``."""

from __future__ import annotations

from typing import Any

from commands import RunCommand


def test_list(run: RunCommand, full: Any) -> None:
    lines = run("jobs", "list").output.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["done", "queued", "running", "failed", "done"]
    assert lines[4].endswith("ZeroDivisionError in the model")


def test_list_of_some_states(run: RunCommand, full: Any) -> None:
    data = run("jobs", "list", "--state", "failed", "--state", "running", "--json").json
    assert {job["state"] for job in data["jobs"]} == {"failed", "running"}


def test_show(run: RunCommand, full: Any) -> None:
    told = run("jobs", "show", "1", "--json").json
    assert (told["id"], told["state"], told["attempt"]) == (1, "done", 1)
    assert [event["kind"] for event in told["events"]] == ["job planned", "job started", "job done"]
    assert "Job 1: ct_lung_density 0.1.0, done" in run("jobs", "show", "1").output


def test_show_prints_what_was_kept_of_a_failure(run: RunCommand, full: Any) -> None:
    (failed,) = run("jobs", "list", "--state", "failed", "--json").json["jobs"]
    told = run("jobs", "show", str(failed["id"]), "--json").json
    assert told["failure"] == {"traceback": "File …", "output": "", "input": []}
    assert "Traceback\n" in run("jobs", "show", str(failed["id"])).output
    assert run("jobs", "show", "1", "--json").json["failure"] is None


def test_a_job_that_is_not_there_is_bad_news(run: RunCommand, full: Any) -> None:
    ran = run("jobs", "show", "99")
    assert ran.status == 1
    assert "there is no job 99" in ran.error


def test_retry(run: RunCommand, full: Any) -> None:
    assert run("jobs", "retry", "2").output == "job 2 is queued\n"
    told = run("jobs", "show", "2", "--json").json
    assert told["state"] == "queued"
    assert told["events"][-1]["kind"] == "job retried"
    assert told["events"][-1]["by"].startswith("cli:")


def test_a_job_that_is_done_is_not_retried(run: RunCommand, full: Any) -> None:
    ran = run("jobs", "retry", "1")
    assert ran.status == 1
    assert "job 1 is done" in ran.error


def test_cancel(run: RunCommand, full: Any) -> None:
    (queued,) = run("jobs", "list", "--state", "queued", "--json").json["jobs"]
    assert run("jobs", "cancel", str(queued["id"])).output == f"job {queued['id']} is cancelled\n"
    again = run("jobs", "cancel", str(queued["id"]))
    assert again.status == 1
    assert "is cancelled already" in again.error


def test_prioritise(run: RunCommand, full: Any) -> None:
    (queued,) = run("jobs", "list", "--state", "queued", "--json").json["jobs"]
    assert run("jobs", "prioritise", str(queued["id"]), "stat").output == f"job {queued['id']} is stat\n"
    told = run("jobs", "show", str(queued["id"]), "--json").json
    assert told["priority"] == "stat"
    assert told["events"][-1]["detail"] == {"priority": "stat", "was": "routine"}
    assert run("jobs", "prioritise", str(queued["id"]), "soon").status == 2


def test_stuck_says_why(run: RunCommand, full: Any) -> None:
    told = run("jobs", "stuck", "--json").json["jobs"]
    why = {job["state"]: (job["why"], job["what_to_do"]) for job in told}
    assert why["failed"][0] == "ZeroDivisionError in the model"
    assert why["queued"] == ("no worker is there", "start one: dicom-node worker")
    assert run("jobs", "stuck").status == 0
