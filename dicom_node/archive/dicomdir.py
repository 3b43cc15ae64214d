"""Which files a DICOMDIR lists (PS3.3 F.3, PS3.10 8.6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from dicom_node.errors import NotDicomError


def listed_files(path: Path) -> list[Path]:
    """The files of the objects that the DICOMDIR at ``path`` names, in its order; they need not exist.

    A File ID outside the folder of the DICOMDIR is left out: it cannot belong to its file-set.

    Raises:
        NotDicomError: it is no DICOMDIR.
        OSError: it cannot be read.
    """
    try:
        directory = dcmread(path, specific_tags=["DirectoryRecordSequence"])
        records = directory.get("DirectoryRecordSequence")
        named = [_file_id(record) for record in records or ()]
    except (InvalidDicomError, EOFError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotDicomError(f"{path} is no DICOMDIR: {error}", remedy="name the folder instead") from error
    if records is None:
        raise NotDicomError(f"{path} is no DICOMDIR: it has no directory records", remedy="name the folder instead")
    return [_place(path.parent, parts) for parts in named if parts and not {"", ".", ".."}.intersection(parts)]


def _file_id(record: Dataset) -> Sequence[str]:
    value = record.get("ReferencedFileID")
    if value is None or value == "":
        return ()
    parts = [str(part) for part in (value if isinstance(value, MultiValue) else [value])]
    return () if any("/" in part or "\0" in part for part in parts) else parts


def _place(folder: Path, parts: Sequence[str]) -> Path:
    """The file of a File ID; File IDs are upper case, and many systems show the names of a disc in lower case."""
    exact = folder.joinpath(*parts)
    others = (folder.joinpath(*(part.lower() for part in parts)), exact.with_name(f"{exact.name}.dcm"))
    return next((place for place in (exact, *others) if place.is_file()), exact)
