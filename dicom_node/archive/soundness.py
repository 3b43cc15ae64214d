"""Compare every file with what the index knows of it: is each there, unchanged, and is none unknown?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, select

from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore, Segment
from dicom_node.archive.index import Index
from dicom_node.archive.part10 import read_meta
from dicom_node.archive.schema import artifact, instance
from dicom_node.errors import LedgerError, NotDicomError

_PAGE = 500  # rows read at once
_SEALED = "sealed"


class Fault(StrEnum):
    """What is wrong with a file."""

    MISSING = "missing"  # the index names it, and it is not there
    ALTERED = "altered"  # it holds other bytes than when it came
    UNREADABLE = "unreadable"  # the disk does not give it
    UNINDEXED = "unindexed"  # it stands in a sealed segment, and the index does not know it


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that is not as it should be."""

    path: str  # relative to the data directory
    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is to compare."""

    files: int
    bytes: int


def data_set_digest(path: Path) -> str:
    """SHA-256 of the data set of a stored object, as the index has it; not of the receipt before it.

    Raises:
        NotDicomError: there is no file meta information at its beginning.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        read_meta(file, path)
        return hashlib.file_digest(file, "sha256").hexdigest()


def extent(database: Database) -> Extent:
    """Files and bytes the index knows."""
    files = size = 0
    with database.read() as connection:
        for table in (instance, artifact):
            row = connection.execute(select(func.count(), func.coalesce(func.sum(table.c.size), 0)).select_from(table))
            count, total = row.one()
            files, size = files + int(count), size + int(total)
    return Extent(files, size)


def compare(database: Database, store: ObjectStore, seen: Callable[[int], None]) -> Iterator[Finding]:
    """Read every file the index names, and name every sealed one that it does not; ``seen`` is told bytes as they pass.

    Takes as long as reading the whole store, and little memory. What arrives meanwhile is not looked at.

    Raises:
        LedgerError: the database failed.
    """
    yield from _objects(database, store, seen)
    yield from _results(database, store, seen)
    index = Index(database, store.places.data_dir)
    for segment in _sealed(store):
        paths = [store.relative(path) for path in segment.objects()]
        for path in sorted(set(paths) - index.known(paths)):
            yield Finding(path, Fault.UNINDEXED, "its segment counts as indexed, and the index does not have it")


def _objects(database: Database, store: ObjectStore, seen: Callable[[int], None]) -> Iterator[Finding]:
    for row in _rows(database, instance):
        finding = _judge(store, row.path, row.digest, row.size, data_set_digest)
        if finding is not None:
            yield finding
        seen(row.size)


def _results(database: Database, store: ObjectStore, seen: Callable[[int], None]) -> Iterator[Finding]:
    for row in _rows(database, artifact):
        finding = _judge(store, row.path, row.digest, row.size, _file_digest)
        if finding is not None:
            yield finding
        seen(row.size)


def _judge(store: ObjectStore, path: str, digest: str, size: int, digest_of: Callable[[Path], str]) -> Finding | None:
    """What is wrong with a file; a rejected object has no digest, and only its size is known."""
    try:
        file = store.absolute(path)
        found = digest_of(file) if digest else ""
        length = file.stat().st_size
    except FileNotFoundError:
        return Finding(path, Fault.MISSING, "there is no such file")
    except NotDicomError:
        return Finding(path, Fault.ALTERED, "it has lost its file meta information")
    except (OSError, LedgerError) as error:
        return Finding(path, Fault.UNREADABLE, str(error))
    if length != size:
        return Finding(path, Fault.ALTERED, f"{length} bytes, where {size} came")
    if found != digest:
        return Finding(path, Fault.ALTERED, f"SHA-256 {found}, where {digest} came")
    return None


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rows(database: Database, table: Table) -> Iterator[Any]:
    """Path, digest and size of all rows there were at the beginning, by id."""
    columns = (table.c.id, table.c.path, table.c.digest, table.c.size)
    with database.read() as connection:
        newest = connection.execute(select(func.max(table.c.id))).scalar() or 0
    last = 0
    while True:
        page = select(*columns).where(table.c.id > last, table.c.id <= newest).order_by(table.c.id).limit(_PAGE)
        with database.read() as connection:
            rows = connection.execute(page).all()
        if not rows:
            return
        yield from rows
        last = rows[-1].id


def _sealed(store: ObjectStore) -> Iterator[Segment]:
    if not store.places.objects.is_dir():
        return
    for folder in sorted(path for path in store.places.objects.iterdir() if path.is_dir()):
        for place in sorted(path for path in folder.iterdir() if path.name.isdecimal()):
            if (place / _SEALED).exists():
                yield Segment(folder.name, int(place.name), place)
