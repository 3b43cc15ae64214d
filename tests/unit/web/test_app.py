"""Serving: until told to stop, and not where something else listens."""

from __future__ import annotations

import json
import signal
import socket
import threading
import urllib.request
from pathlib import Path

import pytest

from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.errors import ConfigurationError
from dicom_node.settings import NodeSettings, Settings, WebSettings
from dicom_node.web.app import serve_web


def _settings(folder: Path, port: int) -> Settings:
    return Settings(node=NodeSettings(data_dir=folder), web=WebSettings(port=port))


def _serve(settings: Settings, database: Database, stop: threading.Event) -> None:
    serve_web(settings, database, Ledger(database), Parcels(database), lambda: {}, stop)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_served_until_told_to_stop(tmp_path: Path, empty: Database) -> None:
    port, stop = _free_port(), threading.Event()
    before = signal.getsignal(signal.SIGTERM)
    answers: list[object] = []

    def ask() -> None:
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                    answers.append(json.load(answer))
                break
            except ConnectionError:
                continue
            except OSError:
                stop.wait(0.05)
        stop.set()

    asking = threading.Thread(target=ask)
    asking.start()
    _serve(_settings(tmp_path, port), empty, stop)
    asking.join()
    assert answers == [{"program": "dicom-node", "status": "alive"}]
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_port_that_is_taken_is_refused_by_name(tmp_path: Path, empty: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"web.port: 127.0.0.1:{port} cannot be listened on"):
            _serve(_settings(tmp_path, port), empty, threading.Event())
