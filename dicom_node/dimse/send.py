"""Sends files to a peer by C-STORE, as they lie on the disk."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dicom_node.dimse.associate import MAXIMUM_CONTEXTS, NO_FILES, Association, Proposal
from dicom_node.dimse.connect import name
from dicom_node.errors import NotDicomError, PeerError
from dicom_node.settings import PeerSettings, TlsSettings

_META_START = 144  # bytes: preamble, DICM and File Meta Information Group Length


@dataclass(frozen=True, slots=True)
class OutgoingObject:
    """A Part 10 file to send."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def proposal(self) -> Proposal:
        """The presentation context it needs: exactly its own transfer syntax, since it is sent as it is."""
        return Proposal(self.sop_class_uid, (self.transfer_syntax_uid,))


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one object."""

    sop_instance_uid: str
    status: int | None  # of the C-STORE response; None: there was none
    ok: bool  # the peer has stored it, perhaps with a warning
    message: str  # in plain words; empty for plain success
    reason: str = ""  # why it is not there: one of the REASONS, or the reason of the PeerError that ended it


REASONS = {
    "context-refused": "the peer takes no such SOP class, or not in this transfer syntax",
    "object-refused": "the peer does not take this object as it is",
    "out-of-resources": "the peer has no room for it now",
    "peer-failure": "the peer failed on it",
    "unreadable-file": "our file cannot be read",
    "not-sent": "its turn did not come, since the association was lost before",
}
REFUSALS = ("context-refused", "object-refused")  # sending it again changes nothing as long as the peer is as it is


class Sender:
    """C-STORE to peers."""

    def __init__(self, timeout_s: float = 60.0, tls: TlsSettings = NO_FILES) -> None:
        self._timeout_s = timeout_s  # for the connection, and for each answer of the peer
        self._tls = tls  # for peers that want it

    def send(self, peer: PeerSettings, calling_ae: str, objects: Sequence[OutgoingObject]) -> list[SendOutcome]:
        """Send the objects, and return what became of them, in the order of ``objects``: see :meth:`outcomes`.

        Raises:
            PeerError: the first association cannot be opened, so nothing was sent.
        """
        return list(self.outcomes(peer, calling_ae, objects))

    def outcomes(
        self, peer: PeerSettings, calling_ae: str, objects: Sequence[OutgoingObject]
    ) -> Generator[SendOutcome, None, None]:
        """Send the objects in order, over one association as long as 128 presentation contexts are enough.

        Each outcome comes as soon as it is known. When an association is lost, the object under way and those
        after it are reported as not sent, these with the reason ``not-sent``; the one under way may nevertheless
        have arrived. Closing the iterator early aborts the association.

        Raises:
            PeerError: the first association cannot be opened, so nothing was sent.
        """
        for number, group in enumerate(_groups(objects)):
            proposals = list(dict.fromkeys(each.proposal for each in group))
            try:
                association = Association(peer, calling_ae, proposals, timeout_s=self._timeout_s, tls=self._tls)
            except PeerError as error:
                if number == 0:
                    raise
                yield _not_sent(group[0], error, error.reason)
                yield from (_not_sent(each, error) for each in group[1:])
            else:
                yield from _send_over(association, peer, group)


def _send_over(
    association: Association, peer: PeerSettings, objects: Sequence[OutgoingObject]
) -> Iterator[SendOutcome]:
    left = iter(objects)
    with association:  # closed early, it is aborted
        for each in left:
            try:
                outcome = _send_one(association, peer, each)
            except PeerError as error:
                association.abort()
                yield _not_sent(each, error, error.reason)
                yield from (_not_sent(other, error) for other in left)
                return
            yield outcome


def _send_one(association: Association, peer: PeerSettings, each: OutgoingObject) -> SendOutcome:
    uid = each.sop_instance_uid
    agreed = association.agreed(each.proposal)
    if agreed is None:
        why = association.refused(each.proposal)
        return SendOutcome(
            uid,
            None,
            False,
            f"{name(peer)} does not take SOP class {each.sop_class_uid} in transfer syntax "
            f"{each.transfer_syntax_uid}: {why}",
            "context-refused",
        )
    try:
        file = _open_data_set(each.path)
    except (NotDicomError, OSError) as error:
        return SendOutcome(uid, None, False, f"the file cannot be sent: {error}", "unreadable-file")
    with file:
        association.store(agreed.id, each.sop_class_uid, uid, file)
    answer, _ = association.response()
    status = answer.number(0x0900)
    if status is None:
        return SendOutcome(uid, None, False, f"{name(peer)} answered without a status", "peer-failure")
    comment = answer.elements.get(0x0902, b"").strip(b"\0 ").decode("latin-1")
    return SendOutcome(uid, status, stored(status), _describe(status, comment), _reason(status))


def stored(status: int) -> bool:
    """Whether a C-STORE status means that the peer has the object (PS3.7 C, PS3.4 B.2.3).

    These are success, the warnings, and 0x0111: an object of this UID is there already.
    """
    return status in (0x0000, 0x0001, 0x0107, 0x0111, 0x0116) or 0xB000 <= status <= 0xBFFF


def _reason(status: int) -> str:
    if stored(status):
        return ""
    if status >> 8 == 0xA7:
        return "out-of-resources"
    # Processing failure (0x0110) and cancelled, or pending, answers are no judgement of the object.
    return "object-refused" if status >> 8 == 0xA9 or status >> 12 == 0xC or status in _REFUSED else "peer-failure"


_REFUSED = (0x0105, 0x0106, 0x0112, 0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121, 0x0122, 0x0124)  # PS3.7 C.5


def _describe(status: int, comment: str) -> str:
    if status == 0:
        return ""
    meaning = {
        0x0110: "processing failure",
        0x0111: "an object of this UID is there already",
        0x0117: "invalid SOP instance UID",
        0x0122: "SOP class not supported",
        0x0124: "not authorized",
        0xB000: "coercion of data elements",
        0xB006: "elements discarded",
        0xB007: "data set does not match SOP class",
    }.get(status)
    if meaning is None:
        by_range = {0xA7: "out of resources", 0xA9: "data set does not match SOP class", 0xC: "cannot understand"}
        meaning = by_range.get(status >> 8) or by_range.get(status >> 12, "unknown status")
    return f"0x{status:04X} {meaning}" + (f": {comment}" if comment else "")


def _not_sent(each: OutgoingObject, error: PeerError, reason: str = "not-sent") -> SendOutcome:
    return SendOutcome(each.sop_instance_uid, None, False, f"not sent: {error.message}", reason)


def _groups(objects: Sequence[OutgoingObject]) -> Iterator[list[OutgoingObject]]:
    """Cut the sequence where more contexts are needed than one association may have."""
    group: list[OutgoingObject] = []
    needed: set[Proposal] = set()
    for each in objects:
        if each.proposal not in needed and len(needed) == MAXIMUM_CONTEXTS:
            yield group
            group, needed = [], set()
        needed.add(each.proposal)
        group.append(each)
    if group:
        yield group


def _open_data_set(path: Path) -> BinaryIO:
    """Open a file at its data set, behind preamble and file meta information (PS3.10 7.1)."""
    file = path.open("rb")
    head = file.read(_META_START)
    if len(head) < _META_START or head[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        file.close()
        raise NotDicomError(f"{path} does not begin as a DICOM file does")
    start = _META_START + struct.unpack_from("<L", head, 140)[0]
    if start >= path.stat().st_size:
        file.close()
        raise NotDicomError(f"{path} ends before its data set")
    file.seek(start)
    return file
