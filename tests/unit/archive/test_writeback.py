from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dicom_node.archive.files import Reservation, sync
from dicom_node.archive.writeback import start_writing


@pytest.mark.skipif(sys.platform != "linux", reason="a system call of Linux")
def test_the_system_takes_it_and_tells_of_what_is_no_file(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(bytes(1 << 20))
        file.flush()
        assert start_writing(file.fileno(), 0, 1 << 20) == 0
        sync(file.fileno())
    assert start_writing(-1, 0, 1) == -1


def test_what_is_given_early_is_given_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr("dicom_node.archive.files.start_writing", lambda _, start, size: given.append((start, size)))
    data = os.urandom(1 << 20)
    object_ = Reservation(str(tmp_path / "a.part"), str(tmp_path / "a.dcm"))
    for start in range(0, len(data), 50_000):
        object_.write([memoryview(data)[start : start + 50_000]])
    assert object_.commit().read_bytes() == data
    assert given == [*((start, 150_000) for start in range(0, 900_000, 150_000)), (900_000, len(data) - 900_000)]
