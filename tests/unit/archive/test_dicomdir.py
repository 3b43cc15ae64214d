from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.archive.dicomdir import listed_files
from dicom_node.errors import NotDicomError


def write(path: Path, *file_ids: object) -> Path:
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    directory.DirectoryRecordSequence = []
    for file_id in file_ids:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        if file_id is not None:
            record.ReferencedFileID = file_id
        directory.DirectoryRecordSequence.append(record)
    directory.save_as(path, enforce_file_format=True)
    return path


def test_files_are_named_in_order_and_records_without_one_left_out(tmp_path: Path) -> None:
    place = write(tmp_path / "DICOMDIR", None, ["A", "B"], "C", [])
    assert listed_files(place) == [tmp_path / "A" / "B", tmp_path / "C"]


def test_names_in_lower_case_or_with_an_ending_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "im1").touch()
    (tmp_path / "IM2.dcm").touch()
    place = write(tmp_path / "DICOMDIR", ["A", "IM1"], "IM2")
    assert [file.is_file() for file in listed_files(place)] == [True, True]


@pytest.mark.parametrize("file_id", [["..", "SECRET"], [".", "X"], ["A/../../B"], ["", "ETC"]])
def test_nothing_outside_its_folder_is_named(tmp_path: Path, file_id: list[str]) -> None:
    assert listed_files(write(tmp_path / "DICOMDIR", file_id)) == []


def test_what_has_no_records_is_no_dicomdir(tmp_path: Path) -> None:
    place = tmp_path / "DICOMDIR"
    place.write_bytes(b"x" * 200)
    with pytest.raises(NotDicomError, match="is no DICOMDIR"):
        listed_files(place)
