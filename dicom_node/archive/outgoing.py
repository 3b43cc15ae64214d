"""Stored files as they leave us: the data set untouched or with its changes, no meta information of their way here."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from dicom_node.archive.coercion import coerced
from dicom_node.archive.receipt import file_meta
from dicom_node.domain.sending import OutgoingObject, SendOutcome
from dicom_node.errors import InputError, NotDicomError

_META_START = 144  # bytes: preamble, DICM and File Meta Information Group Length
_CHUNK = 1 << 17


def open_data_set(each: OutgoingObject) -> BinaryIO:
    """Open an object at its data set, behind preamble and file meta information (PS3.10 7.1).

    Raises:
        InputError: it is no DICOM file, ends before its data set, or cannot be changed as the peer's entry asks.
        OSError: it cannot be opened.
    """
    path = each.path
    file = path.open("rb") if each.coercion is None else coerced(path, each.coercion)
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


def unsendable(each: OutgoingObject, error: InputError | OSError) -> SendOutcome:
    """What has become of an object that could not be opened."""
    changed = isinstance(error, InputError) and error.reason == "unchangeable"
    reason = "unchangeable" if changed else "unreadable-file"
    return SendOutcome(each.sop_instance_uid, None, False, f"the file cannot be sent: {error}", reason)


class OutgoingFile:
    """A Part 10 file made of new file meta information and the data set as it lies on the disk; may be read again."""

    def __init__(self, each: OutgoingObject) -> None:
        """
        Raises:
            InputError: as :func:`open_data_set`.
            OSError: its file cannot be read.
        """
        self._each = each
        self._head = file_meta(
            each.sop_class_uid.encode("ascii"), each.sop_instance_uid.encode("ascii"), each.transfer_syntax_uid
        )
        with open_data_set(each) as file:
            self.size = len(self._head) + os.fstat(file.fileno()).st_size - file.tell()  # bytes

    def __iter__(self) -> Iterator[bytes]:
        """Its bytes, piece by piece.

        Raises:
            OSError: it cannot be read, or has become shorter.
        """
        yield self._head
        left = self.size - len(self._head)
        with open_data_set(self._each) as file:
            while left:
                piece = file.read(min(_CHUNK, left))
                if not piece:
                    raise OSError("the file became shorter while it was sent")
                left -= len(piece)
                yield piece
