from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from dicom_node.archive.files import OBJECTS_PER_SEGMENT
from dicom_node.archive.header import read_header
from dicom_node.archive.schema import instance
from dicom_node.archive.soundness import Fault, compare, data_set_digest, extent
from dicom_node.errors import NotDicomError
from dicom_node.reception.indexer import Indexer


class NoHints:
    def wait(self, timeout_s: float) -> list[dict[str, Any]]:
        return []


def faults(archive: Any) -> list[tuple[str, Fault]]:
    return [(finding.path, finding.fault) for finding in compare(archive.database, archive.store, lambda size: None)]


def files(archive: Any) -> list[Path]:
    return [archive.data_dir / row.path for row in archive.rows(instance)]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless])
def test_the_digest_is_that_of_the_index(archive: Any, syntax: str) -> None:
    path = archive.put(archive.image(1), syntax=syntax)
    assert data_set_digest(path) == read_header(path).digest


def test_sound_files_give_no_finding_and_are_counted(archive: Any) -> None:
    archive.add(*(archive.image(number) for number in range(1, 4)))
    passed: list[int] = []
    assert list(compare(archive.database, archive.store, passed.append)) == []
    found = extent(archive.database)
    assert (found.files, found.bytes) == (3, sum(passed))
    assert found.bytes == sum(path.stat().st_size for path in files(archive))


def test_what_is_wrong_is_told_by_name(archive: Any) -> None:
    archive.add(*(archive.image(number) for number in range(1, 7)))
    paths = files(archive)
    names = [archive.store.relative(path) for path in paths]
    paths[0].unlink()
    for number, change in ((1, lambda data: data[:-1] + b"\x7f"), (2, lambda data: data[:-2]), (3, lambda data: b"")):
        paths[number].write_bytes(change(paths[number].read_bytes()))
    paths[4].unlink()
    paths[4].mkdir()
    assert faults(archive) == [
        (names[0], Fault.MISSING),
        (names[1], Fault.ALTERED),
        (names[2], Fault.ALTERED),
        (names[3], Fault.ALTERED),
        (names[4], Fault.UNREADABLE),
    ]


def test_every_byte_of_a_data_set_counts(archive: Any) -> None:
    archive.add(archive.image(1))
    (path,) = files(archive)
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    for place in range(start, len(whole)):
        path.write_bytes(whole[:place] + bytes((whole[place] ^ 0x20,)) + whole[place + 1 :])
        assert [fault for _, fault in faults(archive)] == [Fault.ALTERED], place
    path.write_bytes(whole)
    assert faults(archive) == []


def test_a_rejected_object_must_at_least_be_there(archive: Any) -> None:
    archive.put(b"this is no DICOM file")
    Indexer(archive.index, archive.store, NoHints()).tick()
    assert faults(archive) == []
    files(archive)[0].unlink()
    assert [fault for _, fault in faults(archive)] == [Fault.MISSING]


def test_a_sealed_file_the_index_does_not_know_is_told_and_one_that_waits_is_not(archive: Any) -> None:
    for number in range(OBJECTS_PER_SEGMENT + 1):
        archive.put(archive.image(number))
    Indexer(archive.index, archive.store, NoHints()).tick()
    assert [segment.number for segment in archive.store.unsealed()] == [2]
    stray = archive.data_dir / "objects" / "a0" / "00000001" / "999.dcm"
    stray.write_bytes(b"")
    archive.put(archive.image(999))
    assert faults(archive) == [(archive.store.relative(stray), Fault.UNINDEXED)]


def test_what_lost_its_beginning_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 300)
    with pytest.raises(NotDicomError):
        data_set_digest(tmp_path / "x")
