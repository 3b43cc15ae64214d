"""The acceptor as a process of its own, and DCMTK's receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from listening import AcceptorProcess, StoreSCP
from peers import end


@pytest.fixture
def acceptor(tmp_path: Path) -> Iterator[AcceptorProcess]:
    """An acceptor that knows STORESCU."""
    server = AcceptorProcess(tmp_path / "node")
    server.start()
    yield server
    if server.process is not None:
        end(server.process)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[AcceptorProcess]:
    """An acceptor that cannot write files of more than 100 kB."""
    server = AcceptorProcess(tmp_path / "node", largest_file=100_000)
    server.start()
    yield server
    if server.process is not None:
        end(server.process)


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[StoreSCP]:
    """A running storescp."""
    server = StoreSCP(tmp_path / "storescp")
    server.start()
    yield server
    if server.process is not None:
        end(server.process)
