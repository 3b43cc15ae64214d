"""What is kept of a job whose last worker was lost: nobody could tell any more, so what it wrote last is looked up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from dicom_node.archive.job_rows import input_of
from dicom_node.archive.places import Places

LINES = 20
_READ = 200_000  # bytes from the end of a log


def error_of(connection: Connection, row: Any, data_dir: Path) -> dict[str, Any]:
    """The error of a job (a row of its table) that is given up. What an earlier attempt could tell is kept."""
    earlier = row.error or {}
    return {
        **earlier,
        "output": earlier.get("output") or last_lines(data_dir, row.started_at),
        "input": input_of(connection, row.inputs),
        "reason": "worker-lost",
        "message": f"the worker was lost in attempt {row.attempt} of this job: {row.progress}",
        "remedy": "look at the worker's log and memory, then: dicom-node jobs retry " + str(row.id),
    }


def last_lines(data_dir: Path, since: datetime | None) -> str:
    """The last lines that workers and their watchdogs of this machine have logged since then, oldest first.

    Empty where there are none: the worker ran on another machine, or wrote nothing.
    """
    logs = Places(data_dir).logs
    files = [*logs.glob("worker-*.jsonl"), *logs.glob("watchdog-*.jsonl")]
    late = [line for log in files for line in _read(log) if since is None or _at(line) >= since]
    told = sorted(late, key=_at)[-LINES:]
    return "\n".join(f"{line['at']} {line['process']} {line['level']}: {line['message']}" for line in told)


def _read(log: Path) -> Iterator[dict[str, Any]]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _READ))
            lines = file.read().splitlines()
    except OSError:
        return
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the first one is cut, and the last one may be
        if isinstance(line, dict) and {"at", "process", "level", "message"} <= line.keys():
            yield line


def _at(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["at"])
