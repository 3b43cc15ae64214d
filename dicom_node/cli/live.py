"""What arrives, runs and is delivered, as lines on the terminal."""

from __future__ import annotations

import sys
import threading

from dicom_node.archive import events
from dicom_node.archive.database import Database
from dicom_node.archive.events import Event
from dicom_node.errors import LedgerError

PAUSE_S = 0.5
NOT_SHOWN = {"study held": {"reason"}}  # it names patients


def follow(database: Database, stop: threading.Event) -> None:
    """Print every new event until ``stop``."""
    last: int | None = None
    changes, seen = database.changes(), -1
    while not stop.wait(PAUSE_S):
        try:
            if (number := changes()) == seen:
                continue
            if last is None:
                last = events.latest_id(database)
            for event in events.since(database, last):
                last = event.id
                sys.stdout.write(line(event) + "\n")
            sys.stdout.flush()
            seen = number
        except LedgerError:
            continue  # the stages tell of it; this only shows what they did


def line(event: Event) -> str:
    """One event as one line, without patient data."""
    where = f"study {event.study_id}" if event.study_id else ""
    if event.job_id:
        where += f" job {event.job_id}"
    if event.parcel_id:
        where += f" parcel {event.parcel_id}"
    shown = "  ".join(f"{key}: {_short(value)}" for key, value in _shown(event))
    return f"{event.at.astimezone():%H:%M:%S}  {where.strip():<16}  {event.kind}" + (f"  {shown}" if shown else "")


def _shown(event: Event) -> list[tuple[str, object]]:
    hidden = NOT_SHOWN.get(event.kind, set())
    return [(key, value) for key, value in event.detail.items() if key not in hidden and value not in (None, "", [])]


def _short(value: object) -> str:
    text = ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
    return text if len(text) <= 160 else text[:157] + "…"
