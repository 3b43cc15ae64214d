"""Files as they leave: as they are, or as their destination wants them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicom_node.archive.outgoing import OutgoingFile, open_data_set, unsendable
from dicom_node.archive.part10 import read_part10
from dicom_node.domain.changes import Changes, Coercion
from dicom_node.domain.sending import REASONS, REFUSALS, OutgoingObject
from dicom_node.errors import InputError, NotDicomError

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def each(tmp_path: Path, archive_factory: Any) -> OutgoingObject:
    path = tmp_path / "stored.dcm"
    path.write_bytes(archive_factory.part10(archive_factory.image(1, PixelData=bytes(300_000))))
    return OutgoingObject(path, CT, "1.2.3.1.1.1", EXPLICIT)


def test_the_data_set_is_the_same_and_may_be_read_again(tmp_path: Path, each: OutgoingObject) -> None:
    file = OutgoingFile(each)
    once, again = b"".join(file), b"".join(file)
    assert once == again
    assert len(once) == file.size
    with open_data_set(each) as stored:
        assert once.endswith(stored.read())
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(once)
    read = dcmread(copy)
    assert read == dcmread(each.path)
    assert (read.file_meta.MediaStorageSOPInstanceUID, read.file_meta.TransferSyntaxUID) == ("1.2.3.1.1.1", EXPLICIT)


def test_it_does_not_tell_how_it_came(each: OutgoingObject) -> None:
    assert b"10.0.0.7" in each.path.read_bytes()
    told = b"".join(OutgoingFile(each))
    assert b"10.0.0.7" not in told
    assert b"MODALITY" not in told


@pytest.mark.parametrize("content", [b"", b"x" * 500, bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\xff\xff\x00\x00"])
def test_what_is_no_dicom_file_is_told(each: OutgoingObject, content: bytes) -> None:
    each.path.write_bytes(content)
    with pytest.raises(NotDicomError, match=r"stored\.dcm"):
        OutgoingFile(each)


def test_a_file_that_becomes_shorter_is_not_sent_as_if_it_were_whole(each: OutgoingObject) -> None:
    file = OutgoingFile(each)
    each.path.write_bytes(each.path.read_bytes()[:-1000])
    with pytest.raises(OSError, match="became shorter"):
        list(file)


def outgoing(path: Path, **prefix: str) -> OutgoingObject:
    coercion = Coercion(Changes(prefix=prefix), "NODE", AT) if prefix else None
    return OutgoingObject(path, CT, "1.2.3.1.1.1", EXPLICIT, coercion=coercion)


def test_a_data_set_is_opened_as_it_is_or_as_it_is_wanted(archive: Any) -> None:
    path = archive.put(archive.part10(archive.image(1)))
    with open_data_set(outgoing(path)) as plain, open_data_set(outgoing(path, AccessionNumber="X")) as changed:
        as_it_is, as_wanted = plain.read(), changed.read()
    assert path.read_bytes().endswith(as_it_is)
    assert (b"XA1 " in as_wanted, b"XA1 " in as_it_is) == (True, False)


def test_a_whole_file_is_the_same_each_time_it_is_read(archive: Any, tmp_path: Path) -> None:
    file = OutgoingFile(outgoing(archive.put(archive.part10(archive.image(1))), AccessionNumber="X"))
    first, second = b"".join(file), b"".join(file)
    assert first == second
    assert len(first) == file.size
    (tmp_path / "out.dcm").write_bytes(first)
    assert read_part10(tmp_path / "out.dcm").elements[0x00080050].value == b"XA1 "


def test_what_cannot_be_sent_is_told_by_its_reason(archive: Any, tmp_path: Path) -> None:
    each = outgoing(archive.put(archive.part10(archive.image(1))), AccessionNumber="X" * 16)
    with pytest.raises(InputError) as error:
        open_data_set(each)
    told = unsendable(each, error.value)
    assert (told.ok, told.reason, told.sop_instance_uid) == (False, "unchangeable", "1.2.3.1.1.1")
    assert told.reason in REASONS
    assert told.reason in REFUSALS
    (tmp_path / "text").write_text("no DICOM")
    for path in (tmp_path / "text", tmp_path / "nothing"):
        with pytest.raises((InputError, OSError)) as error:
            open_data_set(outgoing(path, AccessionNumber="X"))
        assert unsendable(outgoing(path), error.value).reason == "unreadable-file"
