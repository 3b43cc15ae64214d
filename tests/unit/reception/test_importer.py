from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.archive.files import Reservation
from dicom_node.archive.schema import instance, series
from dicom_node.errors import DicomNodeError, InputError
from dicom_node.reception.hints import HintListener
from dicom_node.reception.importer import Importer, Report, find_files
from dicom_node.reception.indexer import Indexer
from dicom_node.settings import NodeSettings, Settings


@pytest.fixture
def archive(tmp_path: Path, archive_factory: Any) -> Iterator[Any]:
    """On SQLite alone: no database takes part in this."""
    made = archive_factory(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def disc(archive: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two images of a study, one below the other, and what else lies on a disc."""
    folder = tmp_path_factory.mktemp("disc")
    (folder / "IMAGES").mkdir()
    (folder / "IMAGES" / "IM2").write_bytes(archive.part10(archive.image(2)))
    (folder / "im1.dcm").write_bytes(archive.part10(archive.image(1)))
    (folder / "README.TXT").write_text("Start VIEWER.EXE")
    (folder / "empty").touch()
    return folder


def take(archive: Any, source: Path) -> Report:
    importer = Importer(Settings(node=NodeSettings(data_dir=archive.data_dir)))
    importer.run(find_files(source, archive.data_dir), lambda file, size: None)
    return importer.report


class NoHints:
    def wait(self, timeout_s: float) -> list[dict[str, Any]]:
        return []


def test_a_folder_is_taken_and_found_by_the_indexer(archive: Any, disc: Path) -> None:
    report = take(archive, disc)
    assert (report.files, report.stored, report.studies) == (4, 2, {"1.2.3.1"})
    assert report.skipped == [str(disc / "README.TXT"), str(disc / "empty")]
    assert report.refused == []
    assert report.bytes == sum(file.stat().st_size for file in disc.rglob("*") if file.is_file())

    assert Indexer(archive.index, archive.store, NoHints()).tick() == 2
    assert archive.rows(series)[0].instances == 2
    assert {row.peer for row in archive.rows(instance)} == {"import"}
    assert {row.called_ae for row in archive.rows(instance)} == {"DICOMNODE"}


def test_the_data_set_is_kept_bit_for_bit(archive: Any, disc: Path) -> None:
    take(archive, disc / "im1.dcm")
    (kept,) = archive.data_dir.glob("objects/import-0/*/*.dcm")
    original = (disc / "im1.dcm").read_bytes()
    start = 144 + int.from_bytes(original[140:144], "little")
    assert kept.read_bytes().endswith(original[start:])


def test_what_is_refused_is_told_and_does_not_stop_the_others(archive: Any, disc: Path) -> None:
    (disc / "a.dcm").write_bytes((disc / "im1.dcm").read_bytes()[:-4])
    (disc / "b.dcm").write_bytes(archive.part10(archive.image(3, SOPInstanceUID=None)))
    report = take(archive, disc)
    assert report.stored == 2
    assert [(Path(refusal.file).name, refusal.reason) for refusal in report.refused] == [
        ("a.dcm", "truncated"),
        ("b.dcm", "no-uid"),
    ]
    assert all(refusal.remedy for refusal in report.refused)
    assert list(archive.data_dir.glob("objects/*/*/*.part")) == []


def test_a_dicomdir_leads_to_its_files(archive: Any, disc: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from pydicom.fileset import FileSet

    files = FileSet()
    for number in (1, 2):
        needed = {"StudyDate": "20260301", "StudyTime": "120000", "StudyID": "1", "SeriesNumber": 1}
        (disc / f"{number}").write_bytes(archive.part10(archive.image(number, **needed)))
        files.add(disc / f"{number}")
    place = tmp_path_factory.mktemp("file-set")
    files.write(place)
    (place / "not listed").write_bytes((disc / "1").read_bytes())

    report = take(archive, place / "DICOMDIR")
    assert (report.files, report.stored, report.refused) == (2, 2, [])

    report = take(archive, place)
    assert (report.stored, report.skipped) == (3, [str(place / "DICOMDIR")])

    next(path for path in place.rglob("*/*") if path.is_file()).unlink()
    report = take(archive, place / "DICOMDIR")
    assert (report.stored, [refusal.reason for refusal in report.refused]) == (1, ["unreadable"])
    assert "copy the whole disc" in report.refused[0].remedy


def test_the_node_s_own_data_directory_is_not_imported(archive: Any, disc: Path) -> None:
    take(archive, disc)
    before = sorted(archive.data_dir.glob("objects/*/*/*.dcm"))
    assert set(before) <= set(find_files(archive.data_dir, archive.data_dir / "elsewhere"))
    assert not set(before) & set(find_files(archive.data_dir.parent, archive.data_dir))


def test_pipes_and_broken_links_are_passed_by(archive: Any, disc: Path) -> None:
    os.mkfifo(disc / "pipe")
    (disc / "link").symlink_to(disc / "nowhere")
    assert take(archive, disc).files == 4


def test_imports_at_the_same_time_do_not_meet(archive: Any, disc: Path) -> None:
    other = Importer(Settings(node=NodeSettings(data_dir=archive.data_dir)))
    importer = Importer(Settings(node=NodeSettings(data_dir=archive.data_dir)))

    def meanwhile(file: Path, size: int) -> None:
        if other.report.files == 0:
            other.run(find_files(disc, archive.data_dir), lambda file, size: None)

    importer.run(find_files(disc, archive.data_dir), meanwhile)
    assert importer.report.stored == other.report.stored == 2
    assert len(list(archive.data_dir.glob("objects/import-0/*/*.dcm"))) == 2
    assert len(list(archive.data_dir.glob("objects/import-1/*/*.dcm"))) == 2


def test_later_imports_let_the_segments_of_earlier_ones_be_sealed(archive: Any, disc: Path) -> None:
    indexer = Indexer(archive.index, archive.store, NoHints())
    for _ in range(3):
        take(archive, disc)
        indexer.tick()
    assert [segment.number for segment in archive.store.unsealed()] == [3]


def test_a_full_disk_stops_it_and_what_is_stored_stays(
    archive: Any, disc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Reservation.write
    written: list[object] = []

    def fills(self: Reservation, views: Any) -> None:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(views)
        write(self, views)

    monkeypatch.setattr(Reservation, "write", fills)
    importer = Importer(Settings(node=NodeSettings(data_dir=archive.data_dir)))
    with pytest.raises(DicomNodeError, match="No space left"):
        importer.run(find_files(disc, archive.data_dir), lambda file, size: None)
    assert importer.report.stored == 1
    assert len(list(archive.data_dir.glob("objects/*/*/*"))) == 1


def test_it_stops_at_the_disk_s_high_mark(archive: Any, disc: Path) -> None:
    importer = Importer(Settings(node=NodeSettings(data_dir=archive.data_dir, least_free_bytes=1 << 60)))
    with pytest.raises(DicomNodeError, match="MB of the disk are free") as caught:
        importer.run(find_files(disc, archive.data_dir), lambda file, size: None)
    assert "import again" in caught.value.remedy
    assert importer.report.files == 0


def test_a_source_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere cannot be read"):
        list(find_files(tmp_path / "nowhere", tmp_path))


def test_what_only_looks_like_a_dicomdir_is_told(archive: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("disc") / "DICOMDIR"
    for content in (b"", b"text", archive.part10(archive.image(1))):
        place.write_bytes(content)
        with pytest.raises(InputError, match="is no DICOMDIR"):
            list(find_files(place, archive.data_dir))


def test_the_node_is_told_when_an_import_ends(archive: Any, disc: Path) -> None:
    listener = HintListener(archive.store.places.hints)
    take(archive, disc)
    hints = listener.wait(1.0)
    listener.close()
    assert [hint["kind"] for hint in hints] == ["stored", "association-ended"]
    assert hints[1]["objects"] == 2
