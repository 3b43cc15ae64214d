"""Files in a folder: whole or not there, whatever happens."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicom_node.delivery import folder as module
from dicom_node.delivery.bandwidth import unlimited
from dicom_node.delivery.folder import FolderDestination, place, try_out
from dicom_node.domain.sending import OutgoingObject
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings

MakeObject = Callable[..., OutgoingObject]


@pytest.fixture
def peer(tmp_path: Path) -> PeerSettings:
    (tmp_path / "export").mkdir()
    return PeerSettings(name="export", kind="folder", folder=tmp_path / "export")


@pytest.fixture
def object_of(tmp_path: Path, archive_factory: Any) -> MakeObject:
    def make(number: int = 1, **attributes: Any) -> OutgoingObject:
        image = archive_factory.image(number, **attributes)
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(archive_factory.part10(image))
        uids = (str(image.SOPClassUID), str(image.SOPInstanceUID), "1.2.840.10008.1.2.1")
        return OutgoingObject(path, *uids, str(image.StudyInstanceUID), str(image.SeriesInstanceUID))

    return make


def send(peer: PeerSettings, *objects: OutgoingObject) -> list[Any]:
    return list(FolderDestination().send(peer, objects, unlimited))


def test_a_file_has_the_data_set_and_nothing_of_its_way_here(peer: PeerSettings, object_of: MakeObject) -> None:
    each = object_of()
    (outcome,) = send(peer, each)
    assert outcome.ok
    file = place(peer.folder, each)
    assert file == peer.folder / "1.2.3.1" / "1.2.3.1.1" / "1.2.3.1.1.1.dcm"
    copy = dcmread(file)
    assert copy == dcmread(each.path)
    assert "PrivateInformation" not in copy.file_meta
    assert "SendingApplicationEntityTitle" not in copy.file_meta
    assert b"MODALITY" not in file.read_bytes()[:400]
    assert FolderDestination().holds(peer, [each]) == {"1.2.3.1.1.1"}


def test_a_crash_in_the_middle_leaves_no_file_and_the_next_try_succeeds(
    peer: PeerSettings, object_of: MakeObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = object_of()

    class Killed(BaseException):
        """As if the process ended here."""

    def die(descriptor: int) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", die)
        (peer.folder / "1.2.3.1" / "1.2.3.1.1").mkdir(parents=True)
        with pytest.raises(Killed):
            send(peer, each)
    assert list(peer.folder.rglob("*.dcm")) == []
    assert FolderDestination().holds(peer, [each]) == frozenset()
    assert send(peer, each)[0].ok
    assert [path.name for path in peer.folder.rglob("*") if path.is_file()] == ["1.2.3.1.1.1.dcm"]


@pytest.mark.parametrize(("number", "reason"), [(errno.ENOSPC, "out-of-resources"), (errno.EIO, "peer-failure")])
def test_a_disk_that_is_full_or_fails_is_told(
    peer: PeerSettings, object_of: MakeObject, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def fail(path: Path, pieces: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "_put", fail)
    (outcome,) = send(peer, object_of())
    assert (outcome.ok, outcome.reason) == (False, reason)


@pytest.mark.parametrize("uid", ["../../escaped", "", "1.2/3", "1.2.3\0", "x"])
def test_what_is_no_uid_never_becomes_a_path(peer: PeerSettings, object_of: MakeObject, uid: str) -> None:
    each = object_of()
    odd = [replace(each, study_uid=uid), replace(each, series_uid=uid), replace(each, sop_instance_uid=uid)]
    assert [outcome.reason for outcome in send(peer, *odd)] == ["object-refused"] * 3
    assert list(peer.folder.rglob("*")) == []
    assert FolderDestination().holds(peer, odd) == frozenset()


def test_a_file_of_ours_that_cannot_be_read_hinders_no_other(peer: PeerSettings, object_of: MakeObject) -> None:
    bad, fine = object_of(1), object_of(2)
    bad.path.write_bytes(b"no DICOM")
    gone = replace(fine, path=bad.path.with_name("gone.dcm"))
    outcomes = send(peer, bad, gone, fine)
    assert [outcome.reason for outcome in outcomes] == ["unreadable-file", "unreadable-file", ""]
    with pytest.raises(PeerError, match="cannot be compared"):
        _put_in_place(peer, bad)
        FolderDestination().holds(peer, [bad])


def _put_in_place(peer: PeerSettings, each: OutgoingObject) -> None:
    file = place(peer.folder, each)
    assert file is not None
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, object_of: MakeObject) -> None:
    peer = PeerSettings(name="export", kind="folder", folder=tmp_path / "not mounted")
    with pytest.raises(PeerError, match="there is no folder"):
        send(peer, object_of())
    with pytest.raises(PeerError, match="there is no folder"):
        try_out(peer)
    assert not (tmp_path / "not mounted").exists()


def test_trying_it_out_leaves_nothing(peer: PeerSettings) -> None:
    assert try_out(peer) >= 0
    assert list(peer.folder.iterdir()) == []
