"""The ledger's database: SQLite for one machine, PostgreSQL for more.

Every write is one short transaction; SQLite's begins IMMEDIATE, since an upgrade from reader to writer cannot
wait for another writer. Times are stored as seconds since the epoch and read as aware UTC; leases are ruled by
the database's own clock, so machines need not agree on theirs.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Double, Engine, Text, create_engine, event, or_, text
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    InvalidatePoolError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from dicom_node.archive.sealing import Vault
from dicom_node.errors import ConfigurationError, LedgerError

BUSY_TIMEOUT_S = 30
ASKED_AFTER_S = 1.0  # a connection to a server that lay idle for longer is asked whether it still is one
LONGEST_PAUSE_S = 86400.0  # until the time of day has come when something may be sent


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time, stored as seconds since 1970-01-01 (double)."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> float | None:
        """Refuse naive times: a time without a zone is a guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.timestamp()

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give the time back in UTC."""
        return None if value is None else datetime.fromtimestamp(float(value), tz=UTC)


class db_now(FunctionElement[datetime]):
    """The database's clock, as a :class:`UtcTime`."""

    type = UtcTime()
    inherit_cache = True
    name = "db_now"


class db_later(FunctionElement[datetime]):
    """The database's clock plus a number of seconds: ``db_later(60)``."""

    type = UtcTime()
    inherit_cache = True
    name = "db_later"


@compiles(db_now, "sqlite")
def _sqlite_now(element: Any, compiler: Any, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now)
def _now(element: Any, compiler: Any, **kw: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(db_later, "sqlite")
def _sqlite_later(element: Any, compiler: Any, **kw: Any) -> str:
    return f"((julianday('now') - 2440587.5) * 86400.0 + {compiler.process(element.clauses, **kw)})"


@compiles(db_later)
def _later(element: Any, compiler: Any, **kw: Any) -> str:
    return f"(extract(epoch from clock_timestamp())::double precision + {compiler.process(element.clauses, **kw)})"


class _listed(FunctionElement[str]):
    """The texts of a JSON array, a row each."""

    type = Text()
    inherit_cache = True
    name = "listed"


@compiles(_listed, "sqlite")
def _sqlite_listed(element: Any, compiler: Any, **kw: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.clauses, **kw)}))"  # noqa: S608  of bound parameters


@compiles(_listed)
def _listed_elsewhere(element: Any, compiler: Any, **kw: Any) -> str:
    return f"(SELECT jsonb_array_elements_text(CAST({compiler.process(element.clauses, **kw)} AS jsonb)))"


def among(column: Column[str], texts: Iterable[str]) -> ColumnElement[bool]:
    """As ``column.in_(texts)``, with one parameter for all of them: for hundreds, several times as fast."""
    return column.bool_op("IN")(_listed(json.dumps(list(texts))))


def come(time: Column[datetime]) -> ColumnElement[bool]:
    """Whether a time that was set for some piece of work has come.

    Nothing is put off for longer than ``LONGEST_PAUSE_S``: what lies further ahead was written by a clock that has
    been set back since.
    """
    return or_(time <= db_now(), time > db_later(LONGEST_PAUSE_S))


class Database:
    """Connections to the ledger. Threads may share one."""

    def __init__(self, url: str, data_dir: Path, vault: Vault | None = None) -> None:
        """``vault``: seals what records and genomes say."""
        self.data_dir = data_dir
        self.vault = vault
        self.engine = _engine(url, data_dir)
        setattr(self.engine.dialect, "vault", vault)  # noqa: B010  where SealedJson finds it
        self._joined = threading.local()
        # Our SQLite connections begin no transaction by themselves.
        self.is_server = self.engine.dialect.name != "sqlite"
        self._single = self.engine.execution_options(isolation_level="AUTOCOMMIT") if self.is_server else self.engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; each statement sees what is committed when it begins."""
        if (joined := self._ours()) is not None:
            yield joined
            return
        with self.single() as connection:
            yield connection

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """A connection on which each statement is a transaction of its own: it begins and ends without a round trip."""
        with _translated(), self._single.connect() as connection:
            yield connection

    @contextmanager
    def write(self, alone: int | None = None) -> Iterator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Those with the same number ``alone`` follow each other, in all processes; on SQLite all do.
        """
        if (joined := self._ours()) is not None:
            with _translated():
                yield joined
            return
        with _translated(), self.engine.begin() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            elif alone is not None:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": alone})
            yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """Whatever this thread reads and writes in the block is one transaction; see :meth:`apart`."""
        with self.write() as connection:
            self._joined.connection = connection
            try:
                yield
            finally:
                self._joined.connection = None

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within :meth:`together`, a part that is undone by itself when it raises."""
        joined = self._ours()
        assert joined is not None  # noqa: S101  only within together
        with _translated(), joined.begin_nested():
            yield

    def _ours(self) -> Connection | None:
        return getattr(self._joined, "connection", None)

    @contextmanager
    def erasing(self) -> Iterator[Connection]:
        """As :meth:`write`, of what must not stand on the disk afterwards. PostgreSQL overwrites it as it vacuums."""
        with self.write() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
            yield connection
        if self.engine.dialect.name == "sqlite":
            with _translated(), self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA secure_delete=OFF")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def changes(self) -> Callable[[], int]:
        """Tells a number that stays the same as long as nobody writes to the ledger. For one thread.

        PostgreSQL has none; there every number is a new one.
        """
        if self.engine.dialect.name != "sqlite":
            return itertools.count().__next__
        held = self.engine.raw_connection()  # kept out of the pool: it does not count what is written over itself

        def number() -> int:
            driver: Any = held.driver_connection
            try:
                return int(driver.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error as error:
                raise _trouble(error) from error

        return number

    def close(self) -> None:
        """Close all idle connections."""
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, ProgrammingError) as error:
        raise _trouble(error.orig) from error


def _trouble(error: BaseException | None) -> LedgerError:
    return LedgerError(
        f"the ledger's database does not do its work: {error}",
        reason="database",
        remedy="is the disk full, the database reachable, another program holding it?",
    )


def _engine(url: str, data_dir: Path) -> Engine:
    if url == "sqlite":
        data_dir.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{data_dir / 'ledger.sqlite'}"
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})
            event.listen(engine, "connect", _prepare_sqlite)
        else:
            engine = create_engine(parsed)
            _ask_idle_connections(engine)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(
            f"{error}", key="database.url", remedy='use "sqlite" or "postgresql+psycopg://user@host/database"'
        ) from error
    return engine


def _ask_idle_connections(engine: Engine) -> None:
    """Replace connections that the server dropped while they lay idle; asking those in use would cost round trips."""

    def lies_idle(connection: Any, record: Any) -> None:
        record.info["idle since"] = time.monotonic()

    def ask(connection: Any, record: Any, proxy: Any) -> None:
        since = record.info.get("idle since")
        if since is None or time.monotonic() - since < ASKED_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", lies_idle)
    event.listen(engine, "checkout", ask)


def _prepare_sqlite(connection: sqlite3.Connection, record: object) -> None:
    # We begin transactions ourselves; the driver's own BEGIN would be deferred.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
