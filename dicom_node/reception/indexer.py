"""The indexer: stored files become rows of the index.

The files are the truth and the index follows: whatever stands in a segment that is not sealed and has no row yet is
read and added, in groups of one transaction. So nothing is lost when this stops between file and row, and hints
only say that looking is worthwhile now.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from dicom_node.archive.files import ObjectStore, Segment
from dicom_node.archive.header import check_seal, identify
from dicom_node.archive.index import Arrival, Index, Rejection
from dicom_node.archive.likeness import Likeness
from dicom_node.errors import DicomNodeError, LedgerError

LOGGER = logging.getLogger(__name__)

GROUP_OBJECTS = 1000
GROUP_SECONDS = 0.3
GATHER_SECONDS = 0.6  # while objects flow, to add many in one transaction; the end of their association ends it
POLL_SECONDS = 0.8  # where no hint comes: the index follows within a second
PASS_SECONDS = 10.0  # a pass ends after about so long, to show that it lives
UNREADABLE_SECONDS = 30.0  # a file that the disk does not give is asked for again after so long


class _Hints(Protocol):
    def wait(self, timeout_s: float) -> list[dict[str, Any]]: ...


class Indexer:
    """Brings the index up to date, in one thread. Those of several nodes read the same folders."""

    def __init__(self, index: Index, store: ObjectStore, hints: _Hints, *, shared: bool = False) -> None:
        """``shared``: other nodes put objects into the same index."""
        self._shared = shared
        self._index = index
        self._store = store
        self._hints = hints
        self._likeness = Likeness()
        self._known: dict[Segment, set[str]] = {}  # objects that stand in the index, of segments not sealed yet
        self._unreadable: dict[str, float] = {}  # when to try again, by the monotonic clock
        self._ended: dict[str, datetime] = {}  # associations whose series are to be told once they are all indexed
        self._behind = True  # whether files may be waiting
        self._first = frozenset(store.unsealed())  # segments from before; the machine may have stopped meanwhile

    def tick(self) -> int:
        """Wait for something to do, do it; returns how many objects were added.

        Raises:
            LedgerError: the database failed; the next pass goes on where this one stopped.
        """
        self._gather()
        self._behind = True
        added, finished = self._follow()
        if finished:
            while self._ended:
                self._index.association_ended(*self._ended.popitem())
            self._behind = added > 0 or self._index.settle() > 0
        return added

    def _gather(self) -> None:
        """Wait until there is something to do; a little longer while more is coming."""
        until: float | None = None
        wait = 0.0 if self._behind else POLL_SECONDS
        while True:
            hints = self._hints.wait(wait)
            ended = [str(hint.get("association")) for hint in hints if hint["kind"] == "association-ended"]
            self._ended |= dict.fromkeys(ended, datetime.now(UTC))
            if self._behind or ended or not hints:
                return
            now = time.monotonic()
            until = until or now + GATHER_SECONDS
            if now >= until:
                return
            wait = until - now

    def _follow(self) -> tuple[int, bool]:
        """Add what is new; how many objects, and whether all were reached."""
        added, until = 0, time.monotonic() + PASS_SECONDS
        for segment in self._store.unsealed():
            complete = self._store.finished(segment)
            names = segment.names()
            known = self._known_of(segment, names)
            new = [name for name in names if name not in known]
            known.update(self._also_known(segment, new))
            folder = f"{segment.path}/"
            todo = (folder + name for name in new if name not in known)
            for group in self._groups(todo, sealed=segment in self._first):
                indexed = self._add(group)
                known.update(path.rpartition("/")[2] for path in indexed)
                added += len(indexed)
                if time.monotonic() > until:
                    return added, False
            if complete and known.issuperset(names):
                self._store.seal(segment)
                self._known.pop(segment, None)
        return added, True

    def _known_of(self, segment: Segment, names: list[str]) -> set[str]:
        if segment not in self._known:
            self._known[segment] = self._in_index(segment, names)
        return self._known[segment]

    def _also_known(self, segment: Segment, new: list[str]) -> set[str]:
        """What another node has put into the index meanwhile; a node alone knows what it has put there itself."""
        return self._in_index(segment, new) if self._shared and new else set()

    def _in_index(self, segment: Segment, names: list[str]) -> set[str]:
        folder = self._store.relative(segment.path)
        return {path.rpartition("/")[2] for path in self._index.known([f"{folder}/{name}" for name in names])}

    def _groups(self, paths: Iterator[str], *, sealed: bool) -> Iterator[list[Arrival | Rejection]]:
        """Objects to be added together. ``sealed``: their seals are to be looked at."""
        group: list[Arrival | Rejection] = []
        began = time.monotonic()
        for path in paths:
            item = self._read(path, sealed)
            if item is not None:
                group.append(item)
            if group and (len(group) >= GROUP_OBJECTS or time.monotonic() - began > GROUP_SECONDS):
                yield group
                group, began = [], time.monotonic()
        if group:
            yield group

    def _read(self, path: str, sealed: bool) -> Arrival | Rejection | None:
        """One object for the index; None when the disk does not give it now."""
        relative = self._store.name_of(path)
        if self._unreadable and self._unreadable.get(relative, 0.0) > time.monotonic():
            return None
        try:
            if sealed:
                check_seal(Path(path))
            return Arrival(relative, self._likeness.header(path))
        except OSError as error:
            self._put_off(relative, error)
            return None
        except DicomNodeError as error:
            return self._rejection(path, error.reason, error.message, error.remedy, *identify(Path(path)))
        except Exception as error:  # one object of a kind nobody foresaw must not stop the others
            LOGGER.exception("%s: unforeseen", path)
            return self._rejection(path, "unforeseen", f"{type(error).__name__}: {error}", "report this as an error")

    def _put_off(self, path: str, error: OSError) -> None:
        LOGGER.error("%s cannot be read, and is tried again: %s", path, error)
        self._unreadable[path] = time.monotonic() + UNREADABLE_SECONDS

    def _add(self, group: list[Arrival | Rejection]) -> list[str]:
        """Put a group into the index; the paths of those that stand in it now."""
        try:
            self._index.add(group)
            return [item.path for item in group]
        except LedgerError:
            raise
        except Exception:
            LOGGER.exception("a group of %d objects could not be added; each is added alone", len(group))
        return [item.path for item in group if self._add_alone(item)]

    def _add_alone(self, item: Arrival | Rejection) -> bool:
        try:
            self._index.add([item])
        except LedgerError:
            raise
        except OSError as error:  # it is compared with what came before it
            self._put_off(item.path, error)
            return False
        except Exception as error:
            LOGGER.exception("%s: unforeseen", item.path)
            message = f"{item.path} cannot be put into the index: {type(error).__name__}: {error}"
            path = self._store.absolute(item.path)
            self._index.add([self._rejection(str(path), "unforeseen", message, "report this as an error")])
        return True

    def _rejection(
        self, path: str, reason: str, message: str, remedy: str, study_uid: str = "", sop_uid: str = ""
    ) -> Rejection:
        told = Path(path).stat()
        received = datetime.fromtimestamp(told.st_mtime, tz=UTC)
        LOGGER.warning("rejected: %s%s", message, f"; {remedy}" if remedy else "")
        relative = self._store.name_of(path)
        return Rejection(relative, told.st_size, received, reason, message, remedy, study_uid, sop_uid)
