"""``/api/v1``: the same as ``--json``."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from dicom_node.archive import overview
from dicom_node.archive.database import Database
from dicom_node.archive.story import history, story


def test_studies(client: TestClient, database: Database) -> None:
    answer = client.get("/api/v1/studies", params={"limit": 3, "offset": 1}).json()
    studies, total = overview.studies(database, limit=3, offset=1)
    assert answer == {"studies": studies, "total": total}


def test_find(client: TestClient) -> None:
    assert client.get("/api/v1/studies", params={"find": "ACC002"}).json()["total"] == 1


def test_a_study(client: TestClient, database: Database) -> None:
    answer = client.get("/api/v1/studies/1.2.826.0.1.1").json()
    assert answer == {**story(database, 1), "events": history(database, 1)}


def test_jobs_and_parcels_by_state(client: TestClient) -> None:
    jobs = client.get("/api/v1/jobs", params={"state": ["failed", "queued"]}).json()["jobs"]
    assert [job["state"] for job in jobs] == ["queued", "failed"]
    parcels = client.get("/api/v1/parcels", params={"state": "due"}).json()["parcels"]
    assert [parcel["tries"] for parcel in parcels] == [4]


def test_counters(client: TestClient) -> None:
    assert client.get("/api/v1/counters").json()["jobs"]["done"] == 2


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/api/v1/studies/1.2.3", 404),
        ("/api/v1/nothing", 404),
        ("/api/v1/studies?limit=0", 422),
        ("/api/v1/studies?limit=many", 422),
        ("/api/v1/jobs?state=asleep", 422),
    ],
)
def test_errors_are_json(client: TestClient, address: str, status: int) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    assert answer.json()["error"]["reason"] == str(status)
    assert answer.json()["error"]["message"]


def test_nothing_can_be_changed(client: TestClient) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    assert {method for path in paths.values() for method in path} == {"get"}
    assert client.post("/api/v1/studies").status_code == 405
