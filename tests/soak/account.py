"""What was acknowledged against what is stored and indexed."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from dicom_node.archive.accounting import unaccounted
from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.schema import instance

_META_LENGTH_END = 144  # bytes: preamble, DICM, and the group length element of the file meta information


@dataclass
class Account:
    """Objects counted; every list of ``faults`` must be empty."""

    acknowledged: int
    stored: int  # files; more than acknowledged where an answer was lost
    rows: int
    unaccounted: int
    faults: dict[str, list[str]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not any(self.faults.values()) and self.unaccounted == 0

    def __str__(self) -> str:
        told = (
            f"{self.acknowledged} acknowledged, {self.stored} files, {self.rows} rows, {self.unaccounted} unaccounted"
        )
        return told + "".join(f"\n  {what}: {len(those)}, {those[:3]}" for what, those in self.faults.items() if those)


def stored_files(store: ObjectStore) -> list[Path]:
    """Every complete object."""
    return sorted(store.places.objects.rglob("*.dcm"))


def await_index(database: Database, store: ObjectStore, patience_s: float = 60.0) -> None:
    """Wait until every file has its row and digest, or none gets one; :func:`settle` then tells which have none."""
    reached, deadline = -1, time.monotonic() + patience_s
    while (rows := _complete(database)) != len(stored_files(store)) and time.monotonic() < deadline:
        if rows > reached:
            reached, deadline = rows, time.monotonic() + patience_s
        time.sleep(0.2 + rows / 5000)  # looking costs more, the more there is


def data_set_digest(path: Path) -> str:
    """SHA-256 of what follows the file meta information."""
    stored = path.read_bytes()
    start = _META_LENGTH_END + int.from_bytes(stored[140:144], "little")
    return hashlib.sha256(stored[start:]).hexdigest()


def settle(database: Database, store: ObjectStore, sent: Mapping[str, str], acknowledged: Iterable[str]) -> Account:
    """Compare what was sent (UID → SHA-256 of the data set) and acknowledged with files and rows."""
    rows, files, promised = _rows(database), stored_files(store), set(acknowledged)
    on_disk = {store.relative(path): data_set_digest(path) for path in files}
    current = Counter(uid for uid, _, state, _ in rows.values() if state == "current")
    held = {uid for uid, digest, _, path in rows.values() if on_disk.get(path) == digest == sent.get(uid)}
    return Account(
        acknowledged=len(promised),
        stored=len(files),
        rows=len(rows),
        unaccounted=unaccounted(database),
        faults={
            "acknowledged but lost, or other bytes": sorted(promised - held),
            "acknowledged but not indexed exactly once": sorted(uid for uid in promised if current[uid] != 1),
            "indexed twice": sorted(uid for uid, times in current.items() if times > 1),
            "files without a row": sorted(on_disk.keys() - rows.keys()),
            "rows without a file": sorted(rows.keys() - on_disk.keys()),
            "rows of what was never sent": sorted(path for path, row in rows.items() if row[1] != sent.get(row[0])),
            "rejected or in conflict": sorted(
                path for path, row in rows.items() if row[2] not in ("current", "superseded")
            ),
            "half objects left": sorted(str(path) for path in store.places.objects.rglob("*.part")),
        },
    )


def _complete(database: Database) -> int:
    """Rows that lack nothing; those of rejected objects never have a digest."""
    return sum(bool(digest) or state == "rejected" for _, digest, state, _ in _rows(database).values())


def _rows(database: Database) -> dict[str, tuple[str, str, str, str]]:
    """SOP Instance UID, digest, state and path of every instance, by path."""
    wanted = select(instance.c.sop_uid, instance.c.digest, instance.c.state, instance.c.path)
    with database.read() as connection:
        return {row.path: (row.sop_uid, row.digest, row.state, row.path) for row in connection.execute(wanted)}
