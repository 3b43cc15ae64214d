"""Take in files from a disk: a folder, one file, or the objects a DICOMDIR lists.

It writes into the file store beside the acceptor, so it works while the node runs and while it does not; the
indexer finds the objects either way.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.archive.dicomdir import listed_files
from dicom_node.archive.files import ObjectStore, SegmentWriter
from dicom_node.errors import ConfigurationError, DicomNodeError, InputError, NotDicomError
from dicom_node.reception.hints import Hints
from dicom_node.reception.store import too_full
from dicom_node.reception.upload import Sender, Upload
from dicom_node.settings import Settings

LOGGER = logging.getLogger(__name__)

DOOR = "import"
_MOST_AT_ONCE = 64  # imports into one data directory
_PIECE = 1 << 20
_MAKE_ROOM = "make room on the disk of the data directory, then import again: what is there is recognised"
_NOT_DICOM = ("not-dicom", "dicomdir")  # reasons of files that are no object, and no loss


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that was not taken."""

    file: str
    reason: str
    message: str
    remedy: str


@dataclass(slots=True)
class Report:
    """What became of the files so far."""

    files: int = 0
    bytes: int = 0  # of all files
    stored: int = 0
    studies: set[str] = field(default_factory=set)  # Study Instance UIDs of what was stored
    skipped: list[str] = field(default_factory=list)  # files that are no DICOM objects
    refused: list[Refusal] = field(default_factory=list)


def find_files(source: Path, leave_out: Path) -> Iterator[Path]:
    """The files that ``source`` names: itself, those below it, or those it lists as a DICOMDIR.

    ``leave_out`` is a folder that is not entered: our own data directory.

    Raises:
        InputError: there is no such file or folder, or it cannot be read.
    """
    try:
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            yield from _below(source, leave_out.resolve())
        elif source.name.upper() == "DICOMDIR":
            yield from listed_files(source)
        else:
            yield source
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}", reason="unreadable") from error


class Importer:
    """Takes files in, one after the other."""

    def __init__(self, settings: Settings) -> None:
        self._node = settings.node
        self._store = ObjectStore(settings.node.data_dir)
        self._sender = Sender(DOOR, f"import-{uuid.uuid4().hex}", settings.node.ae_title)
        self.report = Report()

    def run(self, files: Iterator[Path], seen: Callable[[Path, int], None]) -> None:
        """Take every file; ``seen`` is told each with its bytes. :attr:`report` holds even when this is interrupted.

        Raises:
            ConfigurationError: the data directory cannot be written.
            DicomNodeError: its disk is full or fails.
        """
        hints = Hints(self._store.places.hints)
        try:
            with _own_writer(self._store) as writer:
                for file in files:
                    self._make_sure_of_room(writer)
                    seen(file, self._take(writer, file))
                    hints.stored()
        finally:
            hints.association_ended(
                self._sender.upload,
                calling_ae="",
                called_ae=self._sender.called_ae,
                peer=DOOR,
                objects=self.report.stored,
                aborted=False,
            )
            hints.close()

    def _make_sure_of_room(self, writer: SegmentWriter) -> None:
        why = too_full(writer, self._node)
        if why:
            raise DicomNodeError(why, reason="storage", remedy=_MAKE_ROOM)

    def _take(self, writer: SegmentWriter, file: Path) -> int:
        upload = Upload(writer, self._sender, str(file))
        self.report.files += 1
        try:
            for piece in _pieces(file):
                upload.write(piece)
            header = upload.commit()
        except NotDicomError as error:
            if error.reason in _NOT_DICOM:
                self.report.skipped.append(str(file))
            else:
                self._refuse(file, error)
        except InputError as error:
            self._refuse(file, error)
        except OSError as error:
            raise DicomNodeError(
                f"the data directory cannot be written: {error.strerror or error}",
                reason="storage",
                remedy=_MAKE_ROOM,
            ) from error
        else:
            self.report.stored += 1
            self.report.studies.add(header.study_instance_uid)
        finally:
            upload.discard()
        self.report.bytes += upload.size
        return upload.size

    def _refuse(self, file: Path, error: InputError) -> None:
        self.report.refused.append(Refusal(str(file), error.reason, error.message, error.remedy))


def _below(folder: Path, leave_out: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if Path(place, name).resolve() != leave_out)
        for name in sorted(names):
            file = Path(place, name)
            if file.is_file():  # no pipes, no devices, no broken links
                yield file


def _pieces(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE):
                yield piece
    except OSError as error:
        remedy = "copy it from its source again"
        if isinstance(error, FileNotFoundError):
            remedy = "the DICOMDIR lists a file that is not there: copy the whole disc"
        raise InputError(
            f"{file} cannot be read: {error.strerror or error}", reason="unreadable", remedy=remedy
        ) from error


@contextmanager
def _own_writer(store: ObjectStore) -> Iterator[SegmentWriter]:
    """Write as an acceptor that no other import is; names are used again, so that their segments get sealed."""
    places = store.places
    try:
        places.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(_MOST_AT_ONCE):
            name = f"import-{number}"
            with (places.run / f"{name}.lock").open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield store.writer(name)
                return
    except PermissionError as error:
        raise ConfigurationError(
            f"the data directory {places.data_dir} cannot be written: {error.strerror}",
            key="node.data_dir",
            remedy="run this as the user that runs the node",
        ) from error
    raise DicomNodeError(f"{_MOST_AT_ONCE} imports run already", reason="busy", remedy="wait for one of them to end")
