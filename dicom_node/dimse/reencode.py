"""Objects in a little endian encoding without compression, for peers that do not take their own (PS3.5 10.1).

Implicit VR Little Endian is the one transfer syntax that every application entity must take. No value changes by it:
pixel data is decoded where its compression is lossless, and only there. Nothing is ever compressed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from pydicom import FileDataset, dcmread
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.pixels.utils import decompress
from pydicom.uid import UID

from dicom_node.archive.coercion import coerced
from dicom_node.dimse.framing import MALFORMED
from dicom_node.domain.changes import Coercion
from dicom_node.errors import NotDicomError

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_LOSSLESS = (
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless only
    "1.2.840.10008.1.2.4.201",  # high-throughput JPEG 2000, lossless only
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.5",  # RLE
)
# Transfer syntax of a file -> those it may be sent in besides, the better one first.
OTHERS: Mapping[str, tuple[str, ...]] = {
    IMPLICIT: (EXPLICIT,),
    EXPLICIT: (IMPLICIT,),
    **dict.fromkeys(_LOSSLESS, (EXPLICIT, IMPLICIT)),
}
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
            write_dataset(encoded, _plain(dcmread(source)))
        file.seek(0)
    except BaseException as error:
        file.close()
        if isinstance(error, (*MALFORMED, RuntimeError)):  # the latter of pydicom, where a frame cannot be decoded
            raise NotDicomError(f"{path} cannot be encoded anew: {error}") from error
        raise
    return file


def in_words(own: str, other: str) -> str:
    """How an object of one transfer syntax is sent in another."""
    how = "decoded without loss from" if own in _LOSSLESS else "encoded anew from"
    return f"sent in {UID(other).name}, {how} {UID(own).name}; the file here is as it was"


def _plain(dataset: FileDataset) -> FileDataset:
    """With pixel data that is not encapsulated. The SOP Instance UID stays: no pixel changes (PS3.5 8.2)."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated and "PixelData" in dataset:
        decompress(dataset, as_rgb=False, generate_instance_uid=False)
    return dataset
