"""An archive of small images, and a client of its DICOMweb."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.settings import NodeSettings, Settings
from dicom_node.web.app import create_app

STUDY = "/dicom-web/studies/1.2.3.1"
SERIES = f"{STUDY}/series/1.2.3.1.1"


@pytest.fixture
def archive(tmp_path: Path, archive_factory: Any) -> Iterator[Any]:
    """On SQLite alone; ``tests/integration`` asks a real server."""
    made = archive_factory(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def web(archive: Any) -> Iterator[TestClient]:
    """A client of the archive."""
    settings = Settings(node=NodeSettings(data_dir=archive.data_dir, time_zone="UTC"))
    database = archive.database
    app = create_app(settings, database, Ledger(database), Parcels(database), dict)
    with TestClient(app, base_url="http://localhost:8080") as client:
        yield client


Parts = Callable[[Any], list[tuple[dict[str, str], bytes]]]


@pytest.fixture
def parts_of() -> Parts:
    """Reads an answer of several parts: headers and body of each."""
    from dicom_node.reception.multipart import MediaType, MultipartReader, PartBegin, PartData

    def read(answer: Any) -> list[tuple[dict[str, str], bytes]]:
        media = MediaType.parse(answer.headers["content-type"])
        assert media.name == "multipart/related"
        reader = MultipartReader(media.parameters["boundary"])
        found: list[tuple[dict[str, str], bytes]] = []
        for event in reader.feed(answer.content):
            if isinstance(event, PartBegin):
                found.append((dict(event.headers), b""))
            elif isinstance(event, PartData):
                found[-1] = (found[-1][0], found[-1][1] + event.data)
        reader.close()
        return found

    return read
