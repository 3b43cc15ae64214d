"""Stored files as they leave us: the data set untouched, the file meta information without their way here."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dicom_node.archive.receipt import file_meta
from dicom_node.domain.sending import OutgoingObject
from dicom_node.errors import NotDicomError

_META_START = 144  # bytes: preamble, DICM and File Meta Information Group Length
_CHUNK = 1 << 17


def open_data_set(path: Path) -> BinaryIO:
    """Open a file at its data set, behind preamble and file meta information (PS3.10 7.1).

    Raises:
        NotDicomError: it is no DICOM file, or ends before its data set.
        OSError: it cannot be opened.
    """
    file = path.open("rb")
    try:
        head = file.read(_META_START)
        if len(head) < _META_START or head[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
            raise NotDicomError(f"{path} does not begin as a DICOM file does")
        start = _META_START + struct.unpack_from("<L", head, 140)[0]
        if start >= os.fstat(file.fileno()).st_size:
            raise NotDicomError(f"{path} ends before its data set")
        file.seek(start)
    except BaseException:
        file.close()
        raise
    return file


class OutgoingFile:
    """A Part 10 file made of new file meta information and the data set as it lies on the disk; may be read again."""

    def __init__(self, each: OutgoingObject) -> None:
        """
        Raises:
            NotDicomError: its file is no DICOM file, or ends before its data set.
            OSError: its file cannot be read.
        """
        self._path = each.path
        self._head = file_meta(
            each.sop_class_uid.encode("ascii"), each.sop_instance_uid.encode("ascii"), each.transfer_syntax_uid
        )
        with open_data_set(each.path) as file:
            self.size = len(self._head) + os.fstat(file.fileno()).st_size - file.tell()  # bytes

    def __iter__(self) -> Iterator[bytes]:
        """Its bytes, piece by piece.

        Raises:
            OSError: it cannot be read, or has become shorter.
        """
        yield self._head
        left = self.size - len(self._head)
        with open_data_set(self._path) as file:
            while left:
                piece = file.read(min(_CHUNK, left))
                if not piece:
                    raise OSError("the file became shorter while it was sent")
                left -= len(piece)
                yield piece
