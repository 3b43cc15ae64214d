"""Fixtures for every suite."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers import Orthanc, PostgreSQL, RedisServer, postgresql_programs, program, unavailable

from dicom_node.archive.database import Database
from dicom_node.archive.migrate import migrate


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real DICOM, EHR and genomic files, named by DICOM_NODE_TEST_DATA."""
    folder = os.environ.get("DICOM_NODE_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        unavailable("no real test data", "set DICOM_NODE_TEST_DATA to its folder")
    return Path(folder or "")


@pytest.fixture(scope="session", autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """A thread that outlives its test keeps the whole run from ending."""
    yield
    own = [each for each in threading.enumerate() if each is not threading.main_thread() and not each.daemon]
    for each in own:
        each.join(20)
    left = [each.name for each in own if each.is_alive()]
    assert not left


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A running, empty Orthanc."""
    program("Orthanc")
    server = Orthanc(tmp_path / "orthanc")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running, empty Redis server."""
    program("redis-server")
    server = RedisServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A running PostgreSQL server."""
    postgresql_programs()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = PostgreSQL(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def new_database(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], Database]]:
    """Makes empty ledgers beside a data directory: on SQLite, and again on PostgreSQL."""
    made: list[Database] = []

    def make(data_dir: Path) -> Database:
        url = "sqlite" if request.param == "sqlite" else request.getfixturevalue("postgresql").database()
        made.append(Database(url, data_dir))
        migrate(made[-1])
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def database(new_database: Callable[[Path], Database], tmp_path: Path) -> Database:
    """An empty ledger."""
    return new_database(tmp_path)
