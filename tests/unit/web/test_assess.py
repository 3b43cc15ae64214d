"""Readers accept, reject and comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from studies_of_results import Clinic

from dicom_node.archive.database import Database
from dicom_node.archive.migrate import migrate
from dicom_node.settings import NodeSettings, Settings
from dicom_node.web.app import create_app

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def made(tmp_path: Any) -> Iterator[tuple[TestClient, Clinic, int, str]]:
    """A client, the ledger, a job with a result, and its study."""
    database = Database("sqlite", tmp_path)
    migrate(database)
    clinic = Clinic(database, tmp_path)
    job_id = clinic.result()
    job = clinic.ledger.job(job_id)
    assert job is not None
    settings = Settings(node=NodeSettings(data_dir=tmp_path, time_zone="UTC"))
    app = create_app(settings, database, clinic.ledger, clinic.parcels, dict)
    with TestClient(app, base_url="http://localhost:8080", follow_redirects=False) as client:
        yield client, clinic, job_id, job.study_uid
    database.close()


def send(client: TestClient, job_id: int, study: str, **fields: str) -> Any:
    page = client.get(f"/studies/{study}").text
    token = re.search(r'name="token" value="([^"]+)"', page)
    assert token
    data = {"token": token[1], "study": study, "reader": "Dr. Müller", "verdict": "accept", **fields}
    return client.post(f"/actions/results/{job_id}/assess", data=data)


@pytest.mark.parametrize(
    ("verdict", "state", "kind"),
    [
        ("accept", "confirmed", "result accepted"),
        ("reject", "rejected", "result rejected"),
        ("correct", "rejected", "result corrected"),
        ("comment", "proposed", "result commented"),
    ],
)
def test_a_verdict_stands_in_history_findings_and_page(made: Any, verdict: str, state: str, kind: str) -> None:
    client, clinic, job_id, study = made
    answer = send(client, job_id, study, verdict=verdict, comment=f"Seen. {HOSTILE}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{study}")
    assert {each["state"] for each in clinic.ledger.findings(job_id)} == {state}
    (event,) = [each for each in client.get(f"/api/v1/studies/{study}").json()["events"] if each["kind"] == kind]
    told = dict(event["detail"])
    assert told.pop("object").startswith("2.25.")
    assert told == {"reader": "Dr. Müller", "comment": f"Seen. {HOSTILE}"}
    assert (event["job"], event["by"]) == (job_id, "page")
    text = client.get(f"/studies/{study}").text
    assert "Dr. Müller" in text
    assert "<script>alert" not in text


@pytest.mark.parametrize(
    ("fields", "status", "why"),
    [
        ({"reader": " "}, 400, "gives a name"),
        ({"verdict": "reject"}, 400, "needs words"),
        ({"verdict": "perhaps"}, 400, "verdict is one of"),
        ({"comment": "x" * 3000}, 400, "2000 letters"),
        ({"token": "stale"}, 403, "not of a page of this node"),
        ({"comment": "x" * 90_000}, 413, "too long"),
    ],
)
def test_what_cannot_be_meant_is_refused(made: Any, fields: dict[str, str], status: int, why: str) -> None:
    client, clinic, job_id, study = made
    answer = send(client, job_id, study, **fields)
    assert answer.status_code == status
    assert why in answer.text
    assert {each["state"] for each in clinic.ledger.findings(job_id)} == {"proposed"}


def test_a_page_of_another_site_cannot_assess(made: Any) -> None:
    client, _, job_id, study = made
    token = re.search(r'name="token" value="([^"]+)"', client.get(f"/studies/{study}").text)
    assert token
    data = {"token": token[1], "study": study, "reader": "x", "verdict": "accept"}
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post(f"/actions/results/{job_id}/assess", data=data, headers=headers).status_code == 403


def test_a_result_that_does_not_count_any_more_is_not_assessed(made: Any) -> None:
    client, _, job_id, study = made
    assert send(client, job_id + 7, study).status_code == 409
