from __future__ import annotations

import zlib
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.archive.files import OBJECTS_PER_SEGMENT, ObjectStore
from dicom_node.archive.index import Arrival, Index
from dicom_node.archive.likeness import Likeness
from dicom_node.archive.receipt import Receipt, file_meta, seal, seal_at
from dicom_node.archive.schema import instance, series, study
from dicom_node.domain.study import Header
from dicom_node.errors import LedgerError
from dicom_node.reception.indexer import GATHER_SECONDS, Indexer


class Hints:
    """Stands in for the socket of hints."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []
        self.asked: list[float] = []

    def wait(self, timeout_s: float) -> list[dict[str, Any]]:
        self.asked.append(timeout_s)
        told, self.waiting = self.waiting, []
        return told


@pytest.fixture
def hints() -> Hints:
    return Hints()


@pytest.fixture
def indexer(archive: Any, hints: Hints) -> Indexer:
    return Indexer(archive.index, archive.store, hints)


def test_what_was_stored_is_indexed_once(archive: Any, indexer: Indexer) -> None:
    for number in (1, 2, 3):
        archive.put(archive.image(number))

    assert indexer.tick() == 3
    assert indexer.tick() == 0
    archive.put(archive.image(4))
    assert indexer.tick() == 1

    assert archive.rows(series)[0].instances == 4
    assert len(archive.rows(instance)) == 4


def test_it_waits_for_hints_only_when_nothing_is_left_to_do(archive: Any, indexer: Indexer, hints: Hints) -> None:
    archive.put(archive.image(1))
    for _ in range(3):
        indexer.tick()
    assert hints.asked[:2] == [0.0, 0.0]
    assert hints.asked[2] > 0


def test_a_new_start_goes_on_where_the_last_stopped(archive: Any, indexer: Indexer, hints: Hints) -> None:
    archive.put(archive.image(1))
    indexer.tick()
    archive.put(archive.image(2))

    again = Indexer(Index(archive.database, archive.data_dir), ObjectStore(archive.data_dir), hints)

    assert again.tick() == 1
    assert archive.rows(series)[0].instances == 2


def test_dying_between_file_and_row_loses_nothing(
    archive: Any, indexer: Indexer, hints: Hints, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 6):
        archive.put(archive.image(number))

    def dies(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dicom_node.archive.index_batch.Batch.write", dies)
    with pytest.raises(KeyboardInterrupt):
        indexer.tick()
    monkeypatch.undo()
    assert archive.rows(instance) == []

    assert Indexer(archive.index, archive.store, hints).tick() == 5


def test_trouble_with_the_database_loses_nothing(
    archive: Any, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.put(archive.image(1))

    def full(self: object, objects: object) -> None:
        raise LedgerError("database or disk is full", reason="database")

    monkeypatch.setattr(Index, "add", full)
    for _ in range(2):
        with pytest.raises(LedgerError):
            indexer.tick()
    monkeypatch.undo()

    assert indexer.tick() == 1
    assert len(archive.rows(instance)) == 1


def test_an_object_that_cannot_be_used_is_rejected_and_the_others_go_on(archive: Any, indexer: Indexer) -> None:
    archive.put(archive.image(1))
    archive.put(b"this is no DICOM file")
    archive.put(archive.part10(archive.image(2))[:-10])
    archive.put(archive.image(3, StudyInstanceUID=None))
    archive.put(archive.image(4))

    assert indexer.tick() == 5

    assert [row.state for row in archive.rows(instance)] == ["current", "rejected", "rejected", "rejected", "current"]
    told = archive.events("instance rejected")
    assert [detail["reason"] for detail in told] == ["not-dicom", "truncated", "no-uid"]
    assert all(detail["remedy"] for detail in told)
    assert archive.rows(instance)[2].study_id == archive.rows(study)[0].id
    assert archive.rows(instance)[2].sop_uid == "1.2.3.1.1.2"


def test_a_file_that_the_machine_stopped_in_is_not_taken_for_an_object(
    archive: Any, indexer: Indexer, hints: Hints
) -> None:
    part10 = archive.part10(archive.image(1))
    begins = 144 + pydicom.dcmread(BytesIO(part10)).file_meta.FileMetaInformationGroupLength
    receipt = Receipt("A", "B", "10.0.0.7", "assoc-1", datetime.now(UTC), sealed=True)
    meta = file_meta(b"1.2.840.10008.5.1.4.1.1.2", b"1.2.3.1.1.1", "1.2.840.10008.1.2.1", receipt)
    data_set = part10[begins:]
    sealed = bytearray(meta)
    sealed[seal_at(meta) : seal_at(meta) + 24] = seal(len(data_set), zlib.crc32(data_set))
    damaged = data_set[:-2] + bytes(byte ^ 1 for byte in data_set[-2:])
    for content in (meta + data_set, bytes(sealed) + damaged, bytes(sealed) + data_set):
        archive.put(content)

    Indexer(archive.index, archive.store, hints).tick()

    assert [row.state for row in archive.rows(instance)] == ["rejected", "rejected", "current"]
    assert [detail["reason"] for detail in archive.events("instance rejected")] == ["torn", "torn"]


def test_it_waits_a_little_for_more_while_objects_flow(archive: Any, indexer: Indexer) -> None:
    class Flowing(Hints):
        def wait(self, timeout_s: float) -> list[dict[str, Any]]:
            super().wait(timeout_s)
            if len(self.asked) < 4:
                archive.put(archive.image(len(self.asked)))
                return [{"kind": "stored"}]
            return [{"kind": "association-ended", "association": "assoc-1"}]

    indexer.tick()
    hints = Flowing()
    indexer._behind, indexer._hints = False, hints

    assert indexer.tick() == 3
    assert len(hints.asked) == 4
    assert all(0 < asked < GATHER_SECONDS + 0.001 for asked in hints.asked[1:])


def test_an_object_nobody_foresaw_is_rejected(archive: Any, indexer: Indexer, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.put(archive.image(1))

    def surprised(self: Likeness, path: Path) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(Likeness, "read", surprised)
    indexer.tick()
    assert archive.rows(instance)[0].reason == "unforeseen: ZeroDivisionError: surprise"


def test_an_object_the_index_cannot_take_does_not_keep_out_its_neighbours(
    archive: Any, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        archive.put(archive.image(number))
    add = Index.add

    def chokes(self: Index, objects: Any) -> None:
        if any(isinstance(item, Arrival) and item.header.sop_instance_uid.endswith(".2") for item in objects):
            raise ValueError("surprise")
        add(self, objects)

    monkeypatch.setattr(Index, "add", chokes)
    indexer.tick()
    assert sorted(row.state for row in archive.rows(instance)) == ["current", "current", "rejected"]


def test_a_failing_read_is_tried_again_later(archive: Any, indexer: Indexer, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.put(archive.image(1))

    def fails(self: Likeness, path: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Likeness, "read", fails)
        assert indexer.tick() == 0
    assert indexer.tick() == 0  # not yet
    monkeypatch.setattr("dicom_node.reception.indexer.time.monotonic", lambda: 1e12)
    assert indexer.tick() == 1


def test_a_full_segment_is_sealed_once_a_later_one_exists(archive: Any, indexer: Indexer) -> None:
    content = archive.part10(archive.image(1))
    for _ in range(OBJECTS_PER_SEGMENT):
        archive.put(content)
    while indexer.tick():
        pass
    assert [segment.number for segment in archive.store.unsealed()] == [1]

    archive.put(content)
    while indexer.tick():
        pass

    assert [segment.number for segment in archive.store.unsealed()] == [2]
    assert len(archive.rows(instance)) == OBJECTS_PER_SEGMENT + 1


def test_the_end_of_an_association_reaches_its_series(archive: Any, indexer: Indexer, hints: Hints) -> None:
    archive.put(archive.image(1), association="assoc-3")
    hints.waiting = [{"kind": "stored"}, {"kind": "association-ended", "association": "assoc-3"}]
    before = datetime.now(UTC)

    indexer.tick()

    ended = archive.rows(series)[0].association_ended
    assert ended is not None
    assert (ended - before).total_seconds() > -0.01


def test_the_end_of_an_association_waits_until_all_of_it_is_indexed(
    archive: Any, indexer: Indexer, hints: Hints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.reception.indexer.PASS_SECONDS", -1.0)
    monkeypatch.setattr("dicom_node.reception.indexer.GROUP_OBJECTS", 1)
    archive.put(archive.image(1), association="assoc-3")
    archive.put(archive.image(2), association="assoc-3")
    hints.waiting = [{"kind": "association-ended", "association": "assoc-3"}]

    indexer.tick()
    assert archive.rows(series)[0].association_ended is None
    for _ in range(3):
        indexer.tick()
    assert archive.rows(series)[0].association_ended is not None


def test_revisions_are_settled_once_nothing_new_comes(archive: Any, indexer: Indexer) -> None:
    def corrected(number: int) -> Dataset:
        return archive.image(number, AccessionNumber="A2")

    for content in (archive.image(1), archive.image(2), corrected(1), corrected(2)):
        archive.put(content)
    for _ in range(3):
        indexer.tick()
    assert archive.rows(series)[0].attributes["AccessionNumber"] == "A2"


def test_an_object_that_came_before_and_is_not_given_now_is_waited_for(
    archive: Any, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.put(archive.image(1))
    indexer.tick()
    archive.put(archive.image(1))
    archive.put(archive.image(2))

    def fails(header: Header, path: Path) -> Header:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("dicom_node.archive.index.with_digests", fails)
        assert indexer.tick() == 1
    assert [row.state for row in archive.rows(instance)] == ["current", "current"]
    monkeypatch.setattr("dicom_node.reception.indexer.time.monotonic", lambda: 1e12)
    assert indexer.tick() == 1
    assert [row.state for row in archive.rows(instance)] == ["current", "current", "superseded"]
