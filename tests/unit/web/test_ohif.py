"""OHIF's files, and what is served beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.settings import NodeSettings, Settings
from dicom_node.web import ohif, ohif_release
from dicom_node.web.sources import Sources


@pytest.fixture
def viewer(tmp_path: Path, archive_factory: Any) -> Iterator[TestClient]:
    """A client of the viewer's port, over an archive with one image; its files are stand-ins."""
    archive = archive_factory(tmp_path)
    archive.add(archive.image(1))
    settings = Settings(node=NodeSettings(data_dir=tmp_path))
    files = ohif_release.folder(settings)
    (files / "assets").mkdir(parents=True)
    (files / "index.html").write_text("<!doctype html>the viewer")
    (files / "assets" / "a.wasm").write_bytes(b"\0asm")
    assert ohif_release.installed(settings) == files
    database = archive.database
    app = ohif.create_app(Sources(settings, database, Ledger(database), Parcels(database), dict), files)
    with TestClient(app, base_url="http://localhost:8081") as client:
        yield client
    database.close()


def test_the_viewer_reads_the_archive_of_its_own_port(viewer: TestClient) -> None:
    text = viewer.get("/app-config.js").text
    configured = json.loads(text.removeprefix("window.config = ").rstrip(";\n"))
    (source,) = configured["dataSources"]
    assert source["configuration"]["wadoRoot"] == "/dicom-web"
    (study,) = viewer.get("/dicom-web/studies").json()
    assert study["00081190"]["Value"] == ["http://localhost:8081/dicom-web/studies/1.2.3.1"]
    assert "http" not in text


@pytest.mark.parametrize(
    ("address", "begins"),
    [
        ("/", b"<!doctype html>"),
        ("/viewer?StudyInstanceUIDs=1.2.3.1", b"<!doctype html>"),
        ("/assets/a.wasm", b"\0asm"),
        ("/..%2f..%2f..%2fledger.sqlite", b"<!doctype html>"),
        ("/%2fetc%2fpasswd", b"<!doctype html>"),
        ("/assets/%00", b"<!doctype html>"),
    ],
)
def test_files_of_the_release_and_nothing_else(viewer: TestClient, address: str, begins: bytes) -> None:
    answer = viewer.get(address)
    assert answer.status_code == 200
    assert answer.content.startswith(begins)


def test_what_is_no_resource_of_dicomweb_is_no_page_of_the_viewer(viewer: TestClient) -> None:
    assert viewer.get("/dicom-web/nothing").status_code == 404


def test_the_viewer_is_isolated_and_changes_nothing(viewer: TestClient) -> None:
    headers = viewer.get("/").headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert "connect-src 'self'" in headers["content-security-policy"]
    assert viewer.post("/dicom-web/studies", content=b"x").status_code == 405
    assert viewer.get("/", headers={"Host": "evil.example"}).status_code == 421
