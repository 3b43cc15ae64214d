from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.archive import files
from dicom_node.archive.files import OBJECTS_PER_SEGMENT, ObjectStore, SegmentWriter
from dicom_node.errors import ConfigurationError, LedgerError


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path)


def add(writer: SegmentWriter, data: bytes = b"object") -> Path:
    reservation = writer.reserve()
    reservation.write([data])
    return reservation.commit()


def names(store: ObjectStore) -> list[str]:
    return sorted(store.relative(path) for path in store.places.data_dir.rglob("*") if path.is_file())


def test_an_object_stands_under_its_path_with_its_bytes(store: ObjectStore) -> None:
    reservation = store.writer("a0").reserve()
    reservation.write([b"one ", memoryview(b"two ")])
    reservation.write([b"three"])
    path = reservation.commit()
    assert store.relative(path) == "objects/a0/00000001/000.dcm"
    assert path.read_bytes() == b"one two three"
    assert names(store) == ["objects/a0/00000001/000.dcm"]


def test_more_views_than_one_system_call_takes(store: ObjectStore) -> None:
    reservation = store.writer("a0").reserve()
    reservation.write([bytes((n % 256,)) for n in range(5000)])
    assert reservation.commit().read_bytes() == bytes(n % 256 for n in range(5000))


def test_bytes_are_durable_before_the_name_is(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    reservation = store.writer("a0").reserve()
    final = reservation.path
    monkeypatch.setattr(files, "sync", lambda _: steps.append(f"file, named: {final.exists()}"))
    monkeypatch.setattr(files, "sync_folder", lambda folder: steps.append(f"folder, named: {final.exists()}"))
    reservation.commit()
    assert steps == ["file, named: False", "folder, named: True"]


def test_with_a_single_flush_the_name_and_the_seal_come_before_it(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    reservation = store.writer("a0").reserve()
    final = reservation.path
    monkeypatch.setattr(files, "sync", lambda _: steps.append(f"{final.exists()} {final.read_bytes()!r}"))
    monkeypatch.setattr(files, "sync_folder", lambda _: steps.append("folder"))
    reservation.write([b"head 000 tail"])
    reservation.commit_at_once(b"123", 5)
    assert steps == ["True b'head 123 tail'"]


def test_what_cannot_be_made_durable_with_a_single_flush_leaves_nothing(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reservation = store.writer("a0").reserve()
    reservation.write([b"head 000 tail"])

    def full(_: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OSError, match="no space"):
        reservation.commit_at_once(b"123", 5)
    assert names(store) == []


def test_what_cannot_be_made_durable_leaves_nothing(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reservation = store.writer("a0").reserve()

    def full(_: Path) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(files, "sync_folder", full)
    with pytest.raises(OSError, match="no space"):
        reservation.commit()
    assert names(store) == []


def test_discarded_objects_leave_nothing_and_their_number_is_not_used_again(store: ObjectStore) -> None:
    writer = store.writer("a0")
    writer.reserve().discard()
    assert names(store) == []
    assert add(writer).name == "001.dcm"


def test_a_file_size_limit_is_an_os_error(store: ObjectStore) -> None:
    reservation = store.writer("a0").reserve()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError):
            reservation.write([b"x" * 600, b"y" * 600])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    reservation.discard()
    assert names(store) == []


def test_a_segment_takes_256_objects(store: ObjectStore) -> None:
    writer = store.writer("a0")
    paths = [add(writer) for _ in range(OBJECTS_PER_SEGMENT + 1)]
    assert store.relative(paths[-2]) == "objects/a0/00000001/255.dcm"
    assert store.relative(paths[-1]) == "objects/a0/00000002/000.dcm"
    first, second = store.unsealed()
    assert first.objects() == paths[:-1]
    assert second.objects() == paths[-1:]
    assert (store.finished(first), store.finished(second)) == (True, False)


def test_a_segment_is_not_finished_while_an_object_of_it_arrives(store: ObjectStore) -> None:
    writer = store.writer("a0")
    slow = writer.reserve()
    for _ in range(OBJECTS_PER_SEGMENT):
        add(writer)
    first = next(iter(store.unsealed()))
    assert not store.finished(first)
    slow.write([b"late"])
    slow.commit()
    assert store.finished(first)
    assert len(first.objects()) == OBJECTS_PER_SEGMENT


def test_sealed_segments_are_not_read_again(store: ObjectStore) -> None:
    writer = store.writer("a0")
    for _ in range(OBJECTS_PER_SEGMENT + 1):
        add(writer)
    first, second = store.unsealed()
    store.seal(first)
    store.seal(first)
    assert list(store.unsealed()) == [second]


def test_a_segment_is_looked_at_until_it_is_seen_sealed_and_never_again(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.places.objects / "a0"
    for number in range(1, 6):
        (folder / f"{number:08d}").mkdir(parents=True)
    segments = list(store.unsealed())
    for segment in segments[:4]:
        store.seal(segment)
    looked: list[str] = []
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: looked.append(path.parent.name) or exists(path))
    passes = [[segment.number for segment in store.unsealed()] for _ in range(3)]
    (folder / "00000006").mkdir()
    assert [*passes, [segment.number for segment in store.unsealed()]] == [[5], [5], [5], [5, 6]]
    assert looked == [f"{number:08d}" for number in (1, 2, 3, 4, 5, 5, 5, 5, 6)]


def test_a_new_start_opens_a_new_segment_and_removes_parts_of_its_own(store: ObjectStore) -> None:
    before = store.writer("a0")
    kept = add(before)
    before.reserve()
    other = store.writer("a1").reserve()
    again = store.writer("a0")
    assert names(store) == ["objects/a0/00000001/000.dcm", "objects/a1/00000001/000.part"]
    assert store.relative(add(again)) == "objects/a0/00000002/000.dcm"
    assert kept.exists()
    assert store.finished(next(iter(store.unsealed())))
    other.discard()


def test_segments_come_oldest_first(store: ObjectStore) -> None:
    for _ in range(3):
        add(store.writer("a0"))
        add(store.writer("b0"))
    assert [(s.acceptor, s.number) for s in store.unsealed()] == [
        (acceptor, number) for acceptor in ("a0", "b0") for number in (1, 2, 3)
    ]


def test_objects_of_many_threads_stay_apart(store: ObjectStore) -> None:
    writer = store.writer("a0")

    def receive(number: int) -> None:
        for _ in range(100):
            add(writer, bytes([number]) * 100)

    threads = [threading.Thread(target=receive, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [path.read_bytes() for segment in store.unsealed() for path in segment.objects()]
    assert sorted(found) == sorted(bytes([number]) * 100 for number in range(4) for _ in range(100))


@pytest.mark.parametrize("name", ["", "../x", "A0", "a/0", "a.0"])
def test_an_acceptor_has_a_plain_name(store: ObjectStore, name: str) -> None:
    with pytest.raises(ConfigurationError):
        store.writer(name)


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file cannot be written") as raised:
        ObjectStore(tmp_path / "file").writer("a0")
    assert raised.value.remedy


def test_no_objects_without_a_data_directory(store: ObjectStore) -> None:
    assert list(store.unsealed()) == []


def test_results_are_written_once(store: ObjectStore) -> None:
    path = store.write_result("1/2/seg.dcm", b"seg")
    assert path == store.write_result("1/2/seg.dcm", b"seg")
    assert store.relative(path) == "results/1/2/seg.dcm"
    assert path.read_bytes() == b"seg"
    with pytest.raises(LedgerError, match=r"seg\.dcm exists with other content"):
        store.write_result("1/2/seg.dcm", b"other")
    assert names(store) == ["results/1/2/seg.dcm"]


def test_a_result_that_cannot_be_written_leaves_nothing(store: ObjectStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError):
            store.write_result("big", b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(store) == []


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../outside", "a/../../b"])
def test_names_stay_inside(store: ObjectStore, name: str) -> None:
    with pytest.raises(LedgerError):
        store.absolute(name)
    with pytest.raises(LedgerError):
        store.write_result(name, b"")


@given(parts=st.lists(st.text("abc0._-", min_size=1).filter(lambda part: part not in (".", "..")), min_size=1))
def test_names_in_the_ledger_are_reversible(parts: list[str]) -> None:
    store = ObjectStore(Path("/data"))
    path = store.places.data_dir.joinpath(*parts)
    assert store.absolute(store.relative(path)) == path


def test_parts_left_in_sealed_segments_cost_no_start(store: ObjectStore) -> None:
    add(store.writer("a0"))
    store.seal(next(iter(store.unsealed())))
    stray = store.places.objects / "a0" / "00000001" / "007.part"
    stray.touch()
    store.writer("a0")
    assert stray.exists()


def test_folders_are_made_durable_from_the_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    files.make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    assert os.path.isdir(tmp_path / "a" / "b")
