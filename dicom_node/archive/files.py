"""The file store: objects as received and results, each written once and never moved.

    objects/<acceptor>/<segment>/<n>.dcm     one acceptor writes a segment, 256 objects at most
    objects/<acceptor>/<segment>/<n>.part    still arriving; gone after a crash
    objects/<acceptor>/<segment>/sealed      every object of it stands in the index
    results/<name>
    documents/<kind>/<digest>                what patients' records say, for the node's user alone

One process writes the segments of an acceptor (:class:`SegmentWriter`), another reads them
(:class:`ObjectStore`); they share nothing but the files. A segment is finished once a later one exists and it
holds no ``.part``, because an object's ``.part`` exists before the next segment does.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.archive.journal import names_follow_files
from dicom_node.archive.places import Places
from dicom_node.archive.writeback import start_writing
from dicom_node.errors import ConfigurationError, LedgerError

OBJECTS_PER_SEGMENT = 256
_SEALED = "sealed"
_ACCEPTOR = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_FULL_SYNC = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone leaves data in the drive's cache
_VECTORS = os.sysconf("SC_IOV_MAX")
_WRITE_OUT = 1 << 17  # bytes that are given to the disk before the flush; what is smaller waits for it


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One folder of objects."""

    acceptor: str
    number: int
    path: Path

    def names(self) -> list[str]:
        """Names of its complete objects, in the order they were begun."""
        found = [name for name in os.listdir(self.path) if name.endswith(".dcm")]  # noqa: PTH208  see _segments
        return sorted(found, key=lambda name: int(name[:-4]))

    def objects(self) -> list[Path]:
        """Its complete objects, in the order they were begun."""
        return [self.path / name for name in self.names()]


class Reservation:
    """An object on its way in; ends with :meth:`commit` or :meth:`discard`. Not for several threads."""

    def __init__(self, part: str, path: str, mode: int = 0o640) -> None:
        self._part, self._path = part, path
        self._written = self._given = 0  # bytes; those that the disk was given
        self._descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)

    @property
    def part(self) -> Path:
        """Where the object stands until it is committed."""
        return Path(self._part)

    @property
    def path(self) -> Path:
        """And where from then on."""
        return Path(self._path)

    def write(self, views: Sequence[memoryview | bytes]) -> None:
        """Append the views in order.

        Raises:
            OSError: the disk is full or fails; the object can only be discarded.
        """
        for start in range(0, len(views), _VECTORS):
            some = views[start : start + _VECTORS]
            written, whole = os.writev(self._descriptor, some), sum(map(len, some))
            self._written += whole
            if written < whole:
                rest = memoryview(b"".join(some))[written:]
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
        if self._written - self._given >= _WRITE_OUT:
            start_writing(self._descriptor, self._given, self._written - self._given)
            self._given = self._written

    def commit(self) -> Path:
        """Make the object durable under its final path.

        The bytes are on the disk before the name is, and both are before this returns.

        Raises:
            OSError: the object may be lost, and nothing must be promised; it is discarded already.
        """
        try:
            sync(self._descriptor)
            self._rename()
            sync_folder(self.path.parent)
        except OSError:
            self._remove()
            raise
        finally:
            self._close()
        return self.path

    def commit_at_once(self, seal: bytes, seal_at: int) -> None:
        """Make the object durable with a single flush, on a file system whose flush of a file takes its name along.

        After a power failure the name may stand on the disk without all of the bytes: ``seal``, written over the
        bytes at ``seal_at``, must tell whether they are there.

        Raises:
            OSError: likewise.
        """
        try:
            os.pwrite(self._descriptor, seal, seal_at)
            self._rename()
            sync(self._descriptor)
        except OSError:
            self._remove()
            raise
        finally:
            self._close()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._close()
        self._remove()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _rename(self) -> None:
        os.rename(self._part, self._path)  # noqa: PTH104  Path makes several objects for it, at each image

    def _remove(self) -> None:
        Path(self._part).unlink(missing_ok=True)
        Path(self._path).unlink(missing_ok=True)


class SegmentWriter:
    """Writes the objects of one acceptor, from any thread of one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._segment: Path | None = None
        self._next = 0
        make_folder(folder)
        self.names_follow_files = names_follow_files(folder)  # see Reservation.commit_at_once
        self._last = int(max(_segments(folder), default=0))
        for segment in _unsealed(folder, set()):
            for stale in segment.path.glob("*.part"):
                stale.unlink()

    def room(self) -> tuple[int, int]:
        """Free bytes for our user, and all bytes, of the disk."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize

    def reserve(self) -> Reservation:
        """Begin an object.

        Raises:
            OSError: the disk is full or fails.
        """
        with self._lock:
            if self._segment is None or self._next == OBJECTS_PER_SEGMENT:
                self._open_segment()
            name = f"{self._segment}/{self._next:03d}"
            self._next += 1
            return Reservation(f"{name}.part", f"{name}.dcm")

    def _open_segment(self) -> None:
        segment = self._folder / f"{self._last + 1:08d}"
        segment.mkdir(exist_ok=True)  # it may stand there from a time when the disk was full
        sync_folder(self._folder)
        self._segment, self._last, self._next = segment, self._last + 1, 0


class ObjectStore:
    """The objects and results of one data directory; the ledger names them by :meth:`relative` paths."""

    def __init__(self, root: Path) -> None:
        self.places = Places(root.absolute())
        self._below = self.places.data_dir.as_posix() + "/"
        self._sealed: dict[str, set[str]] = {}  # acceptor -> segments that were seen sealed; they stay so

    def writer(self, acceptor: str) -> SegmentWriter:
        """Start writing as ``acceptor``; only one process at a time may. Its left-over parts are removed.

        Raises:
            ConfigurationError: the data directory cannot be written.
        """
        if _ACCEPTOR.fullmatch(acceptor) is None:
            raise ConfigurationError(f"an acceptor is named by small letters, digits, - and _, not {acceptor!r}")
        try:
            return SegmentWriter(self.places.objects / acceptor)
        except OSError as error:
            raise ConfigurationError(
                f"the data directory {self.places.data_dir} cannot be written: {error.strerror}",
                key="node.data_dir",
                remedy="give it to the user that runs the node, or choose another",
            ) from error

    def unsealed(self) -> Iterator[Segment]:
        """Segments that may hold objects the index does not know, oldest first for each acceptor."""
        if not self.places.objects.is_dir():
            return
        for folder in sorted(self.places.objects.iterdir()):
            yield from _unsealed(folder, self._sealed.setdefault(folder.name, set()))

    def finished(self, segment: Segment) -> bool:
        """Whether nothing will be added to the segment any more.

        Ask before listing its objects: those listed afterwards are then all there will ever be.
        """
        later = max(_segments(segment.path.parent), default="") > segment.path.name
        return later and not any(name.endswith(".part") for name in os.listdir(segment.path))  # noqa: PTH208

    def seal(self, segment: Segment) -> None:
        """Mark, durably, that every object of a finished segment stands in the index."""
        marker = os.open(segment.path / _SEALED, os.O_WRONLY | os.O_CREAT, 0o640)
        try:
            sync(marker)
        finally:
            os.close(marker)
        sync_folder(segment.path)

    def write_result(self, name: str, data: bytes) -> Path:
        """Write ``results/<name>`` durably. Writing the same bytes again changes nothing.

        Raises:
            LedgerError: other bytes stand there already.
            OSError: the disk is full or fails.
        """
        return self._write_once(self.places.results, name, data)

    def write_document(self, name: str, data: bytes) -> Path:
        """Write ``documents/<name>`` as :meth:`write_result` does, for the node's user alone."""
        return self._write_once(self.places.documents, name, data, mode=0o600)

    def read_document(self, name: str) -> bytes:
        """What :meth:`write_document` wrote; ``name`` as the ledger has it.

        Raises:
            LedgerError: it is not there any more.
        """
        try:
            return self.absolute(name).read_bytes()
        except OSError as error:
            raise LedgerError(f"{name} cannot be read: {error.strerror}", reason="no-document") from error

    def _write_once(self, folder: Path, name: str, data: bytes, mode: int = 0o640) -> Path:
        path = self._inside(folder, name)
        if path.exists():
            if path.read_bytes() == data:
                return path
            raise LedgerError(
                f"{path} exists with other content; results are written once",
                reason="result-exists",
                remedy="name the files of each attempt apart",
            )
        make_folder(path.parent)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        result = Reservation(str(part), str(path), mode)
        try:
            result.write([data])
        except OSError:
            result.discard()
            raise
        return result.commit()

    def relative(self, path: Path) -> str:
        """The name of a file in the ledger: its path below the data directory, with ``/``."""
        return self.name_of(path.as_posix())

    def name_of(self, text: str) -> str:
        """As :meth:`relative`, of a path as text."""
        if text.startswith(self._below):
            return text[len(self._below) :]
        return Path(text).absolute().relative_to(self.places.data_dir).as_posix()

    def absolute(self, text: str) -> Path:
        """The file of a name in the ledger."""
        return self._inside(self.places.data_dir, text)

    @staticmethod
    def _inside(folder: Path, name: str) -> Path:
        parts = name.split("/")
        if not name or name.startswith("/") or ".." in parts:
            raise LedgerError(f"{name!r} does not name a file inside {folder}", reason="bad-path")
        return folder.joinpath(*parts)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    missing = [folder, *folder.parents]
    missing = [path for path in missing if not path.is_dir()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync(descriptor: int) -> None:
    """Return once what was written to the descriptor is on the disk."""
    if _FULL_SYNC is not None:
        fcntl.fcntl(descriptor, _FULL_SYNC)
    else:
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Return once the names in the folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unsealed(folder: Path, sealed: set[str]) -> Iterator[Segment]:
    """Segments of an acceptor that are not sealed; those that are come to ``sealed``, and are not looked at again."""
    for name in sorted(_segments(folder).difference(sealed)):
        segment = Segment(folder.name, int(name), folder / name)
        if (segment.path / _SEALED).exists():
            sealed.add(name)
        else:
            yield segment


def _segments(folder: Path) -> set[str]:
    """Names of the segments in an acceptor's folder; their order is that of their numbers."""
    # Path.iterdir() takes ten times as long, and the indexer asks twice a second.
    return set(filter(str.isdecimal, os.listdir(folder))) if folder.is_dir() else set()  # noqa: PTH208
