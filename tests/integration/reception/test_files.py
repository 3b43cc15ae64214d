"""Real and broken files through the doors for files: kept bit for bit, or refused by name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.header import read_header
from dicom_node.archive.soundness import data_set_digest
from dicom_node.errors import InputError
from dicom_node.reception.importer import Importer, find_files
from dicom_node.reception.stow import StowDoor, StowRequest
from dicom_node.reception.upload import Sender, Upload
from dicom_node.settings import NodeSettings, Settings

pytestmark = [pytest.mark.data]
FOLDERS = (
    "malformed",
    "pydicom_mixed",
    "transfer_syntax_wg04",
    "enhanced_mr",
    "geometry_failing",
    "seg_edge_cases_dcmqi",
)
RELATED = 'multipart/related; type="application/dicom"; boundary=B'


def files_of(test_data: Path) -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((test_data / folder).rglob("*")) if path.is_file()]


def test_whatever_is_kept_ends_as_its_source_does_and_can_be_read(tmp_path: Path, test_data: Path) -> None:
    writer = ObjectStore(tmp_path).writer("u")
    kept = 0
    for path in files_of(test_data):
        upload = Upload(writer, Sender("import", "import-1", "DICOMNODE"), str(path))
        content = path.read_bytes()
        try:
            upload.write(content)
            header = upload.commit()
        except InputError as error:
            assert str(path) in error.message and error.reason
            continue
        kept += 1
        stored = max((tmp_path / "objects").rglob("*.dcm"), key=lambda file: (file.parent, int(file.stem)))
        assert read_header(stored).sop_instance_uid == header.sop_instance_uid
        # The data set is the end of the source, from some place behind its file meta information on.
        size = stored.stat().st_size - (144 + int.from_bytes(stored.read_bytes()[140:144], "little"))
        assert data_set_digest(stored) == header.digest == hashlib.sha256(content[len(content) - size :]).hexdigest()
    assert kept > 80
    assert list(tmp_path.rglob("*.part")) == []


def test_both_doors_take_and_refuse_the_same(tmp_path: Path, test_data: Path) -> None:
    importer = Importer(Settings(node=NodeSettings(data_dir=tmp_path / "disk", least_free_bytes=0)))
    door = StowDoor(Settings(node=NodeSettings(data_dir=tmp_path / "http", least_free_bytes=0)))
    for folder in FOLDERS:
        importer.run(find_files(test_data / folder, tmp_path), lambda file, size: None)

    def body() -> object:
        for path in files_of(test_data):
            yield b"\r\n--B\r\n\r\n" + path.read_bytes()
        yield b"\r\n--B--\r\n"

    answer = door.store(StowRequest(RELATED, "", "", "127.0.0.1"), body())  # type: ignore[arg-type]
    assert answer.status == 202
    digests = [
        sorted(data_set_digest(path) for path in (tmp_path / where / "objects").rglob("*.dcm"))
        for where in ("disk", "http")
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) == importer.report.stored
