"""Files as they leave us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicom_node.archive.outgoing import OutgoingFile, open_data_set
from dicom_node.domain.sending import OutgoingObject
from dicom_node.errors import NotDicomError

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


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
    with open_data_set(each.path) as stored:
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
