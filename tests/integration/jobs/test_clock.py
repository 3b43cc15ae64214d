"""The clock of the ledger's machine jumps: work is neither doubled nor put off."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import event, select, text
from stories import Writer

from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.results import Outcome
from dicom_node.archive.schema import result_set
from dicom_node.domain.job import JobState
from dicom_node.errors import DicomNodeError, Fenced

HOUR_S = 3600.0
YEAR_S = 365 * 86400.0
NOTHING = Outcome((), (), {}, {}, {})
# What the ledger asks for the time, moved by a number of seconds.
_POSTGRESQL = """
CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
$$ SELECT pg_catalog.clock_timestamp() + make_interval(secs => {}) $$
"""


@pytest.fixture
def jump(database: Database) -> Iterator[Callable[[float], None]]:
    """Sets the clock of the database ahead by so many seconds."""
    ahead = [0.0]

    def prepare(connection: object, _: object) -> None:
        if database.engine.dialect.name == "sqlite":
            real = sqlite3.connect(":memory:", check_same_thread=False)
            day = lambda when: real.execute("SELECT julianday(?)", (when,)).fetchone()[0] + ahead[0] / 86400  # noqa: E731
            connection.create_function("julianday", 1, day)  # type: ignore[attr-defined]
        else:
            connection.execute("SET search_path = public, pg_catalog")  # type: ignore[attr-defined]
            connection.commit()  # type: ignore[attr-defined]

    event.listen(database.engine, "connect", prepare)
    database.engine.dispose()

    def set_ahead(seconds: float) -> None:
        ahead[0] = seconds
        if database.engine.dialect.name == "postgresql":
            with database.write() as connection:
                connection.execute(text(_POSTGRESQL.format(seconds)))

    set_ahead(0.0)
    yield set_ahead
    event.remove(database.engine, "connect", prepare)


@pytest.fixture
def job_id(database: Database) -> int:
    """A job that is queued."""
    with database.write() as connection:
        writer = Writer(connection)
        study = writer.study(1)
        return writer.job(study, writer.series(study, 2), "queued")


def test_a_clock_that_jumps_ahead_ends_leases_and_still_gives_one_result(
    database: Database, job_id: int, jump: Callable[[float], None]
) -> None:
    ledger = Ledger(database)
    first = ledger.claim(job_id, "box:1", 60.0)
    assert first is not None
    assert ledger.expire() == 0
    jump(HOUR_S)
    assert ledger.expire() == 1
    second = ledger.claim(job_id, "box:2", 60.0)
    assert second is not None
    assert not ledger.heartbeat(first, 60.0, "inference")
    ledger.commit(second, NOTHING)
    with pytest.raises(Fenced):
        ledger.commit(first, NOTHING)
    with database.read() as connection:
        assert len(connection.execute(select(result_set.c.id)).all()) == 1


def test_a_clock_that_is_set_back_keeps_a_running_job_with_its_worker(
    database: Database, job_id: int, jump: Callable[[float], None]
) -> None:
    ledger = Ledger(database)
    jump(HOUR_S)
    claim = ledger.claim(job_id, "box:1", 60.0)
    assert claim is not None
    jump(0.0)
    assert ledger.expire() == 0
    assert ledger.claim(job_id, "box:2", 60.0) is None
    assert ledger.heartbeat(claim, 60.0, "inference")  # from now on its lease counts by the clock as it is
    jump(61.0)
    assert ledger.expire() == 1


def test_what_a_wrong_clock_put_off_by_years_is_done_at_once_when_it_is_right(
    database: Database, job_id: int, jump: Callable[[float], None]
) -> None:
    ledger = Ledger(database)
    jump(YEAR_S)
    claim = ledger.claim(job_id, "box:1", 60.0)
    assert claim is not None
    ledger.fail(claim, DicomNodeError("the disk is full"), again=True, excused=True)
    assert ledger.next_queued() is None
    jump(0.0)
    assert ledger.next_queued() == job_id
    again = ledger.claim(job_id, "box:1", 60.0)
    assert again is not None
    ledger.commit(again, NOTHING)
    told = ledger.job(job_id)
    assert told is not None
    assert told.state == JobState.DONE
