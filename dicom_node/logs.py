"""Logs: readable lines on the terminal, JSON lines in a file, no patient data in either.

A record says what it is about by fields: ``log.info("job done", extra={"job": 7, "study": uid})``. Only the
fields named here are written, so a name or a Patient ID cannot slip in by way of ``extra``; of a field that is not
named here only the name is told. Exceptions that are not ours often quote the value they choked on, so their
text is left out: type and place are logged.
"""

from __future__ import annotations

import json as json_format
import logging
import logging.handlers
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from dicom_node.errors import DicomNodeError

FIELDS = frozenset(
    {
        "association",  # number of ours, not of the sender's
        "attempt",
        "bytes",
        "called_ae",
        "calling_ae",
        "device",
        "instance",  # row id or SOP Instance UID
        "instances",
        "job",
        "model",
        "parcel",
        "peer",  # address, or name in the configuration
        "pid",
        "reason",
        "rule",
        "seconds",
        "series",  # row id or Series Instance UID
        "stage",
        "state",
        "status",
        "study",  # row id or Study Instance UID
    }
)
LARGEST_FILE_BYTES = 10_000_000
FILES_KEPT = 5

# Libraries that log values of data sets, a line per image, or SQL with its parameters.
_QUIETER = {
    "pydicom": logging.ERROR,
    "pynetdicom": logging.ERROR,
    "highdicom": logging.ERROR,
    "celpy": logging.ERROR,
    "sqlalchemy": logging.WARNING,
    "sqlalchemy.engine": logging.WARNING,
    "alembic": logging.WARNING,
    "celery": logging.WARNING,
    "kombu": logging.WARNING,
    "amqp": logging.WARNING,
    "uvicorn": logging.WARNING,
    "uvicorn.access": logging.ERROR,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "asyncio": logging.WARNING,
    "matplotlib": logging.WARNING,
    "PIL": logging.WARNING,
}
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(process: str, *, json: bool = False, level: str | int = "INFO", file: Path | None = None) -> None:
    """Set up the logging of this process; calling it again replaces what was set up before.

    Args:
        process: its name in every line: ``node``, ``acceptor``, ``worker-cpu`` …
        json: JSON lines on the terminal too, for containers.
        level: least level that is logged, of our own loggers.
        file: where JSON lines go as well. One process per file: it is rotated at 10 MB, and 5 old ones are kept.
    """
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(JsonFormatter(process) if json else LineFormatter(process))
    handlers: list[logging.Handler] = [terminal]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = logging.handlers.RotatingFileHandler(
            file,
            maxBytes=LARGEST_FILE_BYTES,
            backupCount=FILES_KEPT,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
        )
        kept.setFormatter(JsonFormatter(process))
        handlers.append(kept)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name, least in _QUIETER.items():
        library = logging.getLogger(name)
        library.setLevel(max(least, root.level))
        library.handlers.clear()  # uvicorn, celery and MLflow bring their own
        library.propagate = True
    logging.captureWarnings(False)  # warnings of pydicom quote values


class JsonFormatter(logging.Formatter):
    """One JSON object per line: at, level, process, logger, message, the fields, error."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "at": _at(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self.process,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = described(record.exc_info[1], record.exc_info[2])
        return json_format.dumps(line, ensure_ascii=False, default=str)


class LineFormatter(logging.Formatter):
    """A line for people: local time, level, process, message, fields."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, with the place of an error below."""
        when = _at(record).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{when} {self.process}  {level}{record.getMessage()}{fields}"
        if record.exc_info and record.exc_info[0] is not None:
            error = described(record.exc_info[1], record.exc_info[2])
            line += f"\n    {error['type']}: {error['message']}" + "".join(f"\n      at {at}" for at in error["at"])
        return line


def described(error: BaseException | None, trace: TracebackType | None) -> dict[str, Any]:
    """An exception without what it may quote: type, places (innermost last), message where it is known to be safe."""
    known = isinstance(error, DicomNodeError | OSError)
    return {
        "type": type(error).__name__,
        "message": str(error) if known else "(text left out: it may quote patient data)",
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)],
    }


def _at(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, tz=UTC)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given = {name: value for name, value in vars(record).items() if name not in _PLAIN}
    fields = {name: given[name] for name in sorted(given) if name in FIELDS}
    withheld = sorted(name for name in given if name not in FIELDS)
    return {**fields, "withheld": withheld} if withheld else fields
