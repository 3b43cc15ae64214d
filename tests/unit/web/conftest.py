"""The application over a ledger with studies in every situation, and over an empty one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from stories import full_ledger, new_ledger

from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.settings import NodeSettings, Settings, WebSettings
from dicom_node.web.app import create_app

MakeClient = Callable[..., TestClient]


@pytest.fixture
def client_of(tmp_path: Path) -> Iterator[MakeClient]:
    """Makes a client of the application over a given ledger."""

    def make(
        database: Database, *, stages: dict[str, str] | None = None, host: str = "127.0.0.1", explain: Any = None
    ) -> TestClient:
        settings = Settings(node=NodeSettings(data_dir=tmp_path, time_zone="UTC"), web=WebSettings(host=host))
        app = create_app(
            settings, database, Ledger(database), Parcels(database), lambda: stages or {"courier": "ok"}, explain
        )
        return TestClient(app, base_url="http://localhost:8080", raise_server_exceptions=False)

    yield make


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A ledger with studies in every situation."""
    made, _ = full_ledger(tmp_path)
    yield made
    made.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    """A ledger without studies."""
    made = new_ledger(tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(client_of: MakeClient, database: Database) -> TestClient:
    """A client of the full ledger's pages."""
    return client_of(database)
