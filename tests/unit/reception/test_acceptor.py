from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from peers import free_port, wait_until

from dicom_node.dimse.associate import echo
from dicom_node.errors import ConfigurationError, PeerError
from dicom_node.reception.acceptor import run_acceptor
from dicom_node.settings import NodeSettings, PeerSettings, Settings


def settings(folder: Path, port: int, host: str = "127.0.0.1") -> Settings:
    node = NodeSettings(host=host, port=port, data_dir=folder, unknown_peers="accept")
    return Settings(node=node)


def answers(port: int) -> bool:
    try:
        return echo(PeerSettings(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=port), "TEST") > 0
    except PeerError:
        return False


def test_it_serves_until_it_is_stopped(tmp_path: Path) -> None:
    port, stop = free_port(), threading.Event()
    thread = threading.Thread(target=run_acceptor, args=(settings(tmp_path, port), "a0", stop))
    thread.start()
    try:
        wait_until(lambda: answers(port), "an echo")
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    assert not answers(port)
    assert (tmp_path / "objects" / "a0").is_dir()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}: another program listens there") as raised:
            run_acceptor(settings(tmp_path, port))
    assert "node.port" in raised.value.remedy


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_named(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{host}:11112: this machine has no such address"):
        run_acceptor(settings(tmp_path, 11112, host))


def test_the_process_holds_nothing_it_does_not_need() -> None:
    script = "import sys, dicom_node.reception.acceptor as _; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "pynetdicom" in loaded
    assert not {"sqlalchemy", "alembic", "celery", "fastapi", "celpy", "torch", "monai", "highdicom"} & set(loaded)
