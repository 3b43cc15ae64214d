"""Uncompressed objects in the other of the two little endian encodings, for peers that take only that (PS3.5 10.1).

Implicit VR Little Endian is the one transfer syntax that every application entity must take. No value changes by it,
and no pixel data is decoded; nothing is decompressed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset

from dicom_node.archive.coercion import coerced
from dicom_node.dimse.framing import MALFORMED
from dicom_node.domain.changes import Coercion
from dicom_node.errors import NotDicomError

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
OTHER = {IMPLICIT: EXPLICIT, EXPLICIT: IMPLICIT}
LARGEST = 1 << 30  # bytes of a file: its data set is held in memory meanwhile


def data_set_in(syntax: str, path: Path, coercion: Coercion | None = None) -> BinaryIO:
    """A file of the data set of ``path`` in this transfer syntax, at its start; gone when it is closed.

    Raises:
        NotDicomError: the file cannot be read, or is too large for it.
        InputError: it cannot be changed so.
        OSError: likewise, or there is no room for the other file.
    """
    if path.stat().st_size > LARGEST:
        raise NotDicomError(f"{path} is larger than {LARGEST} bytes, and not encoded anew for that")
    file = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    try:
        encoded = DicomIO(file)
        encoded.is_implicit_VR, encoded.is_little_endian = syntax == IMPLICIT, True
        with path.open("rb") if coercion is None else coerced(path, coercion) as source:
            write_dataset(encoded, dcmread(source))
        file.seek(0)
    except BaseException as error:
        file.close()
        if isinstance(error, MALFORMED):
            raise NotDicomError(f"{path} cannot be encoded anew: {error}") from error
        raise
    return file
