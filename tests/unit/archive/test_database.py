"""Times, clocks and transactions."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import PostgreSQL
from sqlalchemy import Connection, select, text
from sqlalchemy.dialects import sqlite

from dicom_node.archive import database as databases
from dicom_node.archive import events
from dicom_node.archive.database import Database, UtcTime, among, db_later, db_now
from dicom_node.archive.schema import event
from dicom_node.errors import ConfigurationError, LedgerError

TIME = UtcTime()
DIALECT = sqlite.dialect()


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7)), timezone(timedelta(hours=9))])))
def test_times_come_back_as_the_same_instant(value: datetime) -> None:
    stored = TIME.process_bind_param(value, DIALECT)
    back = TIME.process_result_value(stored, DIALECT)
    assert back is not None
    assert back.tzinfo is UTC
    assert abs((back - value).total_seconds()) < 1e-4


def test_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        TIME.process_bind_param(datetime(2026, 1, 1), DIALECT)  # noqa: DTZ001


def test_clock_of_the_database_is_utc_now(database: Database) -> None:
    with database.read() as connection:
        now, later = connection.execute(select(db_now(), db_later(90))).one()
    assert abs((now - datetime.now(UTC)).total_seconds()) < 5
    assert 85 < (later - now).total_seconds() < 95


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    database = Database("sqlite", tmp_path)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE counter (n INTEGER)"))
        connection.execute(text("INSERT INTO counter VALUES (0)"))

    def count() -> None:
        for _ in range(20):
            with database.write() as connection:
                n = connection.execute(text("SELECT n FROM counter")).scalar_one()
                connection.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.execute(text("SELECT n FROM counter")).scalar_one() == 80


def test_block_that_raises_writes_nothing(tmp_path: Path) -> None:
    database = Database("sqlite", tmp_path)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
    with pytest.raises(RuntimeError), database.write() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
        raise RuntimeError
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar_one() == 0


def test_trouble_of_the_database_is_told_in_our_words(database: Database) -> None:
    with pytest.raises(LedgerError, match="nowhere"), database.read() as connection:
        connection.execute(text("SELECT * FROM nowhere"))


@pytest.mark.parametrize("url", ["nonsense", "oracle2://x", "postgresql+nothing://x"])
def test_unknown_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.url"):
        Database(url, tmp_path)


def test_many_texts_are_looked_for_by_one_parameter(database: Database) -> None:
    with database.write() as connection:
        for kind in ("a", "b", 'c"\\é'):
            events.record(connection, kind, "test")
    with database.read() as connection:
        wanted = select(event.c.kind).where(among(event.c.kind, ["a", 'c"\\é', "d"])).order_by(event.c.kind)
        assert list(connection.execute(wanted).scalars()) == ["a", 'c"\\é']
        assert connection.execute(select(event.c.kind).where(among(event.c.kind, []))).all() == []


@pytest.mark.peer
def test_connections_that_a_server_has_dropped_are_replaced(
    postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "ASKED_AFTER_S", 0.0)
    database, other = (Database(postgresql.database(), tmp_path) for _ in range(2))
    number = text("SELECT pg_backend_pid()")
    with database.read() as connection:
        first = connection.execute(number).scalar_one()
    with other.write() as connection:
        assert connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": first}).scalar_one()

    with database.read() as connection:
        assert connection.execute(number).scalar_one() != first
    database.close()
    other.close()


@pytest.mark.peer
def test_reading_holds_no_transaction_open_and_writing_is_one(postgresql: PostgreSQL, tmp_path: Path) -> None:
    database, other = (Database(postgresql.database(), tmp_path) for _ in range(2))
    number, state = text("SELECT pg_backend_pid()"), text("SELECT state FROM pg_stat_activity WHERE pid = :pid")

    def seen(connection: Connection) -> str:
        pid = connection.execute(number).scalar_one()
        with other.read() as watching:
            return str(watching.execute(state, {"pid": pid}).scalar_one())

    with database.read() as connection:
        assert seen(connection) == "idle"
    with database.write() as connection:
        assert seen(connection) == "idle in transaction"
    with database.read() as connection:
        assert seen(connection) == "idle"
    database.close()
    other.close()
