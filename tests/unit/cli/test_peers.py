"""``dicom-node peers``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from commands import RunCommand
from peers import free_port
from pynetdicom import AE

from dicom_node.archive import refusals
from dicom_node.archive.database import Database
from dicom_node.archive.migrate import migrate
from dicom_node.domain.profile import Profile


@pytest.fixture
def peer(folder: Path) -> Iterator[int]:
    """A node that answers C-ECHO, called ``pacs`` in the configuration; its port."""
    entity = AE("PACS")
    entity.add_supported_context("1.2.840.10008.1.1")
    server = entity.start_server(("127.0.0.1", 0), block=False)
    port = int(server.socket.getsockname()[1])
    _configure(folder, port)
    yield port
    server.shutdown()


def _configure(folder: Path, port: int) -> None:
    text = f'[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\n'
    (folder / "dicom-node.toml").write_text(text)


def test_list(run: RunCommand, peer: int) -> None:
    (told,) = run("peers", "list", "--json").json["peers"]
    expected = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": peer}
    assert told | expected == told
    assert not told["clinical"]
    assert f"pacs  dicom  PACS at 127.0.0.1:{peer}" in run("peers", "list").output


def test_what_a_peer_did_not_take_is_told_and_forgotten(run: RunCommand, peer: int, folder: Path) -> None:
    (told,) = run("peers", "list", "--json").json["peers"]
    assert told["refused"] is None, "there is no ledger yet"
    database = Database("sqlite", folder / "dicom-node-data")
    migrate(database)
    with database.write() as connection:
        refusals.remember(connection, "pacs", Profile.LABELMAP, "it knows no label maps")
        refusals.remember(connection, "pacs", Profile.LABELMAP, "it still knows none")
    database.close()
    (told,) = run("peers", "list", "--json").json["peers"]
    (found,) = told["refused"]
    assert (found["encoding"], found["why"]) == ("labelmap", "it still knows none")
    assert datetime.fromisoformat(found["until"]) - datetime.fromisoformat(found["at"]) == timedelta(days=7)
    assert f"labelmap since {found['at'][:10]}" in run("peers", "list").output
    assert run("peers", "forget", "pacs").output.strip() == "pacs: 1 forgotten"
    assert run("peers", "forget", "pacs", "--json").json == {"peer": "pacs", "forgotten": 0}
    assert run("peers", "list", "--json").json["peers"][0]["refused"] == []
    assert run("peers", "forget", "archive").status == 2


def test_echo(run: RunCommand, peer: int) -> None:
    told = run("peers", "echo", "pacs", "--json").json
    assert told["good"]
    assert told["milliseconds"] > 0
    assert "answers" in run("peers", "echo", "pacs").output


def test_an_echo_that_fails_is_bad_news(run: RunCommand, folder: Path) -> None:
    _configure(folder, free_port())
    ran = run("peers", "echo", "pacs")
    assert ran.status == 1
    assert "connection refused" in ran.output
    as_json = run("peers", "echo", "pacs", "--json")
    assert as_json.status == 1
    assert (as_json.json["good"], as_json.json["error"]["reason"]) == (False, "refused")


def test_a_peer_that_is_not_known_is_wrong_usage(run: RunCommand, folder: Path) -> None:
    _configure(folder, 104)
    ran = run("peers", "echo", "archive")
    assert ran.status == 2
    assert "no peer is named 'archive' (known: pacs)" in ran.error
