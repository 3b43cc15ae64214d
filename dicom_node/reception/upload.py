"""Objects that come as DICOM Part 10 files, over HTTP or from a disk, on their way into the file store.

The data set is kept bit for bit; its file meta information is written anew with our receipt in it. An object is
walked from front to back before it is kept, since nobody could be told later that it was cut off.
"""

from __future__ import annotations

import io
import mmap
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.archive.files import Reservation, SegmentWriter
from dicom_node.archive.header import read_header
from dicom_node.archive.part10 import EXPLICIT_LITTLE, begin_data_set, read_meta, text_of
from dicom_node.archive.receipt import Receipt, file_meta
from dicom_node.archive.walk import Element
from dicom_node.domain.study import Header
from dicom_node.errors import HeaderError, InputError, NotDicomError

HEAD_BYTES = 1 << 18  # held until the file meta information is whole; the identifiers nearly always are by then
DICOMDIR = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage: it lists objects and is none

_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_PREAMBLE = b"\0" * 128 + b"DICM"
_ENCAPSULATED = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"  # the header of Pixel Data of undefined length
_SOP_CLASS, _SOP_UID, _STUDY_UID = 0x00080016, 0x00080018, 0x0020000D
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True)
class Sender:
    """By which door objects came, and over which upload."""

    door: str  # "stow-rs from 127.0.0.1", "import"
    upload: str  # ours, unique
    called_ae: str  # us
    calling_ae: str = ""

    def receipt(self) -> Receipt:
        """The receipt of an object that comes now."""
        return Receipt(self.calling_ae, self.called_ae, self.door, self.upload, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Identity:
    """What the beginning of an object says of it; empty where it says nothing."""

    sop_class: str = ""
    sop_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""


class Upload:
    """One object on its way in; ends with :meth:`commit` or :meth:`discard`."""

    def __init__(self, writer: SegmentWriter, sender: Sender, name: str, study_uid: str = "") -> None:
        """``name`` is what errors call it; ``study_uid`` the only study it may belong to, where there is one."""
        self._writer = writer
        self._sender = sender
        self._name = Path(name)
        self._study_uid = study_uid
        self._head = bytearray()
        self._reservation: Reservation | None = None
        self._guessed = False  # whether its transfer syntax was
        self.identity = Identity()
        self.size = 0  # bytes taken

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the file.

        Raises:
            InputError: the object cannot be taken; it can only be discarded.
            OSError: the disk is full or fails; likewise.
        """
        self.size += len(data)
        if self._reservation is not None:
            self._reservation.write([data])
            return
        self._head += data
        if len(self._head) >= HEAD_BYTES:
            self._begin()

    def commit(self) -> Header:
        """Make the object durable; what it is.

        Raises:
            InputError: it is no DICOM, is cut off, or lacks what identifies it; it is discarded.
            OSError: the disk is full or fails; likewise.
        """
        try:
            reservation = self._reservation or self._begin()
            header = self._checked(reservation.part)
        except (InputError, OSError):
            self.discard()
            raise
        self._reservation = None
        reservation.commit()
        return header

    def discard(self) -> None:
        """Leave nothing of it."""
        if self._reservation is not None:
            self._reservation.discard()
            self._reservation = None

    def _begin(self) -> Reservation:
        head = bytes(self._head)
        meta, start = _split(head, self._name)
        syntax = self._syntax(meta, head[start : start + 8])
        elements = begin_data_set(io.BytesIO(head[start:]), len(head) - start, syntax, self._name)
        self.identity = Identity(
            _uid_of(elements, _SOP_CLASS) or _uid(meta.get(0x0002, b"")),
            _uid_of(elements, _SOP_UID) or _uid(meta.get(0x0003, b"")),
            _uid_of(elements, _STUDY_UID),
        )
        self._check_identity(meta)
        written = file_meta(
            self.identity.sop_class.encode("ascii"),
            self.identity.sop_uid.encode("ascii"),
            syntax,
            self._sender.receipt(),
        )
        self._reservation = self._writer.reserve()
        self._reservation.write([written, head[start:]])
        self._head.clear()
        return self._reservation

    def _syntax(self, meta: dict[int, bytes], start: bytes) -> str:
        stated = text_of(meta.get(0x0010, b""))
        if stated and not _uid(meta[0x0010]):
            raise HeaderError(
                f"{self._name}: (0002,0010) Transfer Syntax UID is no UID: {stated[:80]!r}",
                reason="no-transfer-syntax",
                remedy="write the file anew with its transfer syntax",
            )
        self._guessed = not stated
        return stated or _guess(start, self._name)

    def _check_identity(self, meta: dict[int, bytes]) -> None:
        found = self.identity
        if found.sop_class == DICOMDIR:
            raise NotDicomError(
                f"{self._name} is a DICOMDIR, which lists objects and is none", reason="dicomdir", remedy=_SEND_OBJECTS
            )
        stated = text_of(meta.get(0x0002, b""))
        if stated and found.sop_class != stated:
            raise HeaderError(
                f"{self._name}: its file meta information names SOP class {stated}, its data set {found.sop_class}",
                reason="sop-class-mismatch",
                remedy="write the file anew with a program that keeps the two equal",
            )
        if self._study_uid and found.study_uid and found.study_uid != self._study_uid:
            raise _other_study(self._name, found.study_uid, self._study_uid)

    def _checked(self, part: Path) -> Header:
        try:
            header = read_header(part)
        except InputError as error:
            # The sender knows the object by its own name, not by that of a file of ours.
            message = error.message.replace(str(part), str(self._name))
            raise type(error)(message, reason=error.reason, remedy=error.remedy) from error
        if self._guessed and _has_fragments(part):
            raise HeaderError(
                f"{self._name} holds compressed pixels and does not say in which transfer syntax",
                reason="no-transfer-syntax",
                remedy="write the file anew with its transfer syntax, or send it over the network",
            )
        self.identity = Identity(
            header.sop_class_uid, header.sop_instance_uid, header.study_instance_uid, header.series_instance_uid
        )
        if self._study_uid and header.study_instance_uid != self._study_uid:
            raise _other_study(self._name, header.study_instance_uid, self._study_uid)
        return header


_SEND_OBJECTS = "send the files it names"


def _split(head: bytes, name: Path) -> tuple[dict[int, bytes], int]:
    """The file meta information and where the data set begins; the preamble, or both, may be missing."""
    prefix = 0
    if head[128:132] != b"DICM":
        prefix = len(_PREAMBLE) - (4 if head[:4] == b"DICM" else 0)
        if head[:4] != b"DICM" and head[:2] != b"\x02\x00":
            return {}, 0
    file = io.BytesIO(_PREAMBLE[:prefix] + head)
    meta = read_meta(file, name)
    return meta, file.tell() - prefix


def _guess(start: bytes, name: Path) -> str:
    """The transfer syntax of a bare data set, from its first element.

    Raises:
        NotDicomError: these are no first bytes of a data set.
    """
    # PS3.5 7.1: elements ascend, so that a data set that begins with another group than 0008 is none of an image.
    if len(start) == 8 and start[:2] == b"\x08\x00":
        if start[4:6].isalpha() and start[4:6].isupper():
            return EXPLICIT_LITTLE
        if start[6:8] == b"\0\0":
            return _IMPLICIT_LITTLE
    if len(start) == 8 and start[:2] == b"\x00\x08" and start[4:6].isalpha() and start[4:6].isupper():
        return _EXPLICIT_BIG
    raise NotDicomError(
        f"{name} is no DICOM file: 'DICM' does not stand at byte 128, and no data set begins it",
        remedy="convert it to a DICOM Part 10 file",
    )


def _uid_of(elements: dict[int, Element], tag: int) -> str:
    return _uid(elements[tag].value) if tag in elements else ""


def _uid(value: bytes) -> str:
    text = text_of(value)
    return text if _UID.fullmatch(text) else ""


def _has_fragments(part: Path) -> bool:
    """Whether a data set in Explicit VR Little Endian holds encapsulated Pixel Data."""
    with part.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_ENCAPSULATED) >= 0


def _other_study(name: Path, found: str, wanted: str) -> HeaderError:
    return HeaderError(
        f"{name} belongs to the study {found}, not to {wanted}",
        reason="other-study",
        remedy="send it to the address of its own study, or to the one without a study",
    )
