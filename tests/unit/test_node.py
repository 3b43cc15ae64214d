from __future__ import annotations

import threading
import time
from typing import Any

from peers import wait_until

from dicom_node.archive.database import Database
from dicom_node.archive.events import record
from dicom_node.errors import LedgerError
from dicom_node.node import Changes, Stage


def running(stage: Stage) -> threading.Event:
    stop = threading.Event()
    threading.Thread(target=stage.run, args=(stop,), daemon=True).start()
    if stage.changes is not None:
        threading.Thread(target=stage.changes.watch, args=(stop,), daemon=True).start()
    return stop


def test_the_ledger_tells_whether_somebody_has_written(archive: Any) -> None:
    number = archive.database.changes()
    before = number()
    if archive.database.engine.dialect.name != "sqlite":
        assert number() != before  # it cannot tell, and nobody may wait for it
        return
    assert number() == before
    other = Database("sqlite", archive.data_dir)
    with other.write() as connection:
        record(connection, "something", "test")
    assert number() != before
    other.close()


def test_a_stage_without_work_rests_until_the_ledger_changes(archive: Any) -> None:
    if archive.database.engine.dialect.name != "sqlite":
        return
    passes: list[float] = []
    stage = Stage("any", lambda: passes.append(time.monotonic()), 0.01, 3600.0, Changes(archive.database))
    stop = running(stage)
    wait_until(lambda: len(passes) == 1, "a pass")
    time.sleep(0.3)
    assert len(passes) == 1
    with archive.database.write() as connection:
        record(connection, "something", "test")
    wait_until(lambda: len(passes) == 2, "a pass")
    stop.set()


def test_a_stage_that_did_something_goes_on_at_once() -> None:
    passes: list[int] = []
    stage = Stage("any", lambda: passes.append(1) or True, 0.01, 3600.0)
    stop = running(stage)
    wait_until(lambda: len(passes) > 3, "a pass")
    stop.set()


def test_a_ledger_that_cannot_be_asked_stops_no_stage() -> None:
    class Broken:
        def changes(self) -> Any:
            def number() -> int:
                raise LedgerError("no", reason="database")

            return number

    passes: list[int] = []
    stage = Stage("any", lambda: passes.append(1), 0.01, 3600.0, Changes(Broken()))  # type: ignore[arg-type]
    stop = running(stage)
    wait_until(lambda: len(passes) > 1, "a pass")
    stop.set()


def test_a_stage_that_knows_when_there_is_work_looks_then() -> None:
    passes: list[float] = []
    due = iter([0.05, 0.05, 0.05, 3600.0])
    stage = Stage("any", lambda: passes.append(time.monotonic()), 0.01, 7200.0, due_s=lambda: next(due))
    stop = running(stage)
    wait_until(lambda: len(passes) == 4, "a pass")
    time.sleep(0.2)
    assert len(passes) == 4
    stop.set()


def test_stages_at_rest_see_that_the_node_stops(archive: Any) -> None:
    changes = Changes(archive.database)
    stage = Stage("any", lambda: None, 0.01, 3600.0, changes)
    stop = threading.Event()
    threads = [threading.Thread(target=run, args=(stop,)) for run in (stage.run, changes.watch)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
