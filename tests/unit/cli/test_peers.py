"""``dicom-node peers``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import RunCommand
from peers import free_port
from pynetdicom import AE


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
