from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from dicom_node.archive.digests import Digests
from dicom_node.archive.header import read_header
from dicom_node.archive.schema import instance
from dicom_node.errors import InputError
from dicom_node.reception import digester as module
from dicom_node.reception.digester import Digester
from dicom_node.reception.indexer import Indexer


class NoHints:
    def wait(self, timeout_s: float) -> list[dict[str, Any]]:
        return []


@pytest.fixture
def digester(archive: Any) -> Digester:
    return Digester(Digests(archive.database), archive.store)


def index(archive: Any, *numbers: int) -> list[Path]:
    paths = [archive.put(archive.image(number)) for number in numbers]
    Indexer(archive.index, archive.store, NoHints()).tick()
    return paths


def test_what_was_indexed_gets_its_digest(archive: Any, digester: Digester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    paths = index(archive, 1, 2, 3)
    assert [row.digest for row in archive.rows(instance)] == ["", "", ""]
    assert digester.tick() == 3
    assert digester.tick() == 0
    assert [row.digest for row in archive.rows(instance)] == [read_header(path).digest for path in paths]


def test_an_object_without_use_needs_none(archive: Any, digester: Digester) -> None:
    archive.put(b"hello")
    index(archive, 1)
    assert digester.tick() == 1
    assert sorted(row.state for row in archive.rows(instance)) == ["current", "rejected"]


def test_a_file_that_cannot_be_read_is_told_until_it_can(
    archive: Any, digester: Digester, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = index(archive, 1, 2)
    away = first.rename(first.with_suffix(".away"))
    for _ in range(2):
        with pytest.raises(InputError, match="1 received objects") as caught:
            digester.tick()
    assert first.name in caught.value.message
    assert [bool(row.digest) for row in archive.rows(instance)] == [False, True]

    away.rename(first)
    monkeypatch.setattr(module.time, "monotonic", lambda at=module.time.monotonic: at() + module.AGAIN_SECONDS)
    assert digester.tick() == 1


def test_it_tells_whether_objects_have_still_to_come_to_rest(
    archive: Any, digester: Digester, monkeypatch: pytest.MonkeyPatch
) -> None:
    digester.tick()
    assert digester.due_s() == math.inf
    with monkeypatch.context() as moving:
        moving.setattr(module, "LONGEST_SECONDS", 1e9)
        moving.setattr(module, "QUIET_SECONDS", 1e9)
        index(archive, 1)
        assert digester.tick() == 0
        assert digester.due_s() < 1e9
    assert digester.tick() == 1
    assert digester.due_s() == math.inf
