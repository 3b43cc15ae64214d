"""``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from dicom_node.archive.database import Database


def test_alive(client: TestClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"program": "dicom-node", "status": "alive"})


def test_ready(client: TestClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "ledger": "ok", "stages": {"courier": "ok"}}


def test_a_stalled_stage_is_not_ready(client_of: Any, database: Database) -> None:
    answer = client_of(database, stages={"indexer": "ok", "courier": "silent for 61 s"}).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["stages"]["courier"] == "silent for 61 s"


@pytest.mark.parametrize("address", ["/readyz", "/metrics", "/", "/api/v1/studies"])
def test_a_ledger_that_does_not_work_is_told_and_does_not_kill(
    client: TestClient, address: str, database: Database
) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE study RENAME TO gone")
    answer = client.get(address)
    assert answer.status_code == 503
    assert "no such table" in answer.text
    assert "Traceback" not in answer.text
    assert client.get("/healthz").status_code == 200


def test_metrics_are_served_as_prometheus_reads_them(client: TestClient) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'dicom_node_jobs{state="failed"} 1\n' in answer.text
    assert "\ndicom_node_unaccounted 0\n" in answer.text
