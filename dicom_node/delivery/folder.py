"""Destinations that are folders: a file for each object, by study, series and object, whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

from dicom_node.archive.outgoing import OutgoingFile, unsendable
from dicom_node.delivery.destination import Paid
from dicom_node.domain.identifiers import is_valid_uid
from dicom_node.domain.record import Subject
from dicom_node.domain.sending import OutgoingObject, SendOutcome
from dicom_node.errors import InputError, PeerError
from dicom_node.settings import PeerSettings

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CHUNK = 1 << 20


class FolderDestination:
    """Writes under a temporary name, and renames what is on the disk; looks by comparing each file's SHA-256."""

    looks_by = "its SHA-256"

    def send(
        self, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
    ) -> Generator[SendOutcome, None, None]:
        """See :class:`~dicom_node.delivery.destination.Destination`."""
        folder = _root(peer)
        for each in objects:
            yield _write(folder, each, paid)

    def holds(self, peer: PeerSettings, objects: Sequence[OutgoingObject]) -> frozenset[str]:
        """See :class:`~dicom_node.delivery.destination.Destination`."""
        folder = _root(peer)
        return frozenset(each.sop_instance_uid for each in objects if _is_there(folder, each))

    def records(self, peer: PeerSettings, subject: Subject, within_s: float) -> None:
        """See :class:`~dicom_node.delivery.destination.Destination`: files have no record."""

    def close(self) -> None:
        """Nothing is kept open."""


def place(folder: Path, each: OutgoingObject) -> Path | None:
    """Where an object goes; None where one of its UIDs is none, and so no safe name."""
    uids = (each.study_uid, each.series_uid, each.sop_instance_uid)
    if not all(is_valid_uid(uid) for uid in uids):
        return None
    study, series, instance = uids
    return folder / study / series / f"{instance}.dcm"


def try_out(peer: PeerSettings) -> float:
    """Write and delete a file; seconds that it takes.

    Raises:
        PeerError: the folder is not there, or cannot be written to.
    """
    started = time.perf_counter()
    trial = _root(peer) / f".dicom-node-{os.getpid()}.part"
    try:
        _put(trial, [b"dicom-node"])
        trial.unlink()
    except OSError as error:
        raise _unusable(peer, error) from error
    return time.perf_counter() - started


def _root(peer: PeerSettings) -> Path:
    """The folder. It is not made: a share that is not mounted must not be filled up at its mount point."""
    folder = Path(peer.folder or "")
    if not folder.is_dir():
        raise PeerError(
            f"{peer.name}: there is no folder {folder}",
            reason="unreachable",
            remedy="make it, mount the share it lies on, or correct folder of this peer",
        )
    return folder


def _write(folder: Path, each: OutgoingObject, paid: Paid) -> SendOutcome:
    uid = each.sop_instance_uid
    target = place(folder, each)
    if target is None:
        why = "a UID of its study, series or instance is none, and so no name for a file"
        return SendOutcome(uid, None, False, why, "object-refused")
    try:
        file = OutgoingFile(each)
    except (InputError, OSError) as error:
        return unsendable(each, error)
    trial = target.with_name(f".{uid}.part")  # one that a crash has left is written over
    try:
        _make_folders(target.parent, folder)
        _put(trial, _paid(file, paid))
        trial.rename(target)
        _sync(target.parent)
    except OSError as error:
        reason = "out-of-resources" if error.errno in _FULL else "peer-failure"
        return SendOutcome(uid, None, False, f"{target} cannot be written: {error.strerror or error}", reason)
    return SendOutcome(uid, 0, True, "")


def _is_there(folder: Path, each: OutgoingObject) -> bool:
    target = place(folder, each)
    try:
        if target is None or not target.is_file():
            return False
        wanted, found = hashlib.sha256(), hashlib.sha256()
        for piece in OutgoingFile(each):
            wanted.update(piece)
        with target.open("rb") as file:
            while piece := file.read(_CHUNK):
                found.update(piece)
    except InputError as error:
        raise PeerError(f"our own file cannot be compared: {error}", reason="unreadable-file") from error
    except OSError as error:
        raise PeerError(f"{target} cannot be compared: {error.strerror or error}", reason="lost") from error
    return wanted.digest() == found.digest()


def _paid(file: OutgoingFile, paid: Paid) -> Generator[bytes, None, None]:
    for piece in file:
        paid(len(piece))
        yield piece


def _put(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _make_folders(folder: Path, root: Path) -> None:
    """Make what is missing below ``root``, durably."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync(each.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(peer: PeerSettings, error: OSError) -> PeerError:
    return PeerError(
        f"{peer.name}: {peer.folder} cannot be written to: {error.strerror or error}",
        reason="unreachable",
        remedy="correct its permissions, or free some space",
    )
