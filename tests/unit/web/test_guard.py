"""What every answer carries, and which names are answered."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from dicom_node.archive.database import Database
from dicom_node.web.guard import HEADERS


@pytest.mark.parametrize(
    "address", ["/", "/healthz", "/api/v1/studies", "/studies/none", "/static/style.css", "/nothing"]
)
def test_every_answer_is_guarded(client: TestClient, address: str) -> None:
    headers = client.get(address).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize("name", ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST."])
def test_on_loopback_loopback_names_are_answered(client: TestClient, name: str) -> None:
    assert client.get("/", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1.evil.example", "10.0.0.5:8080", "localhost.evil.example", ""]
)
def test_on_loopback_other_names_are_not(client: TestClient, name: str) -> None:
    answer = client.get("/", headers={"Host": name})
    assert answer.status_code == 421
    assert "PAT001" not in answer.text


def test_on_a_public_address_every_name_is_answered(client_of: Any, database: Database) -> None:
    client = client_of(database, host="0.0.0.0")
    assert client.get("/", headers={"Host": "node.hospital.example"}).status_code == 200
