"""Sends files to a peer by C-STORE, as they lie on the disk."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dicom_node.dimse.associate import MAXIMUM_CONTEXTS, Association, Proposal, name
from dicom_node.errors import NotDicomError, PeerError
from dicom_node.settings import PeerSettings

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


class Sender:
    """C-STORE to peers."""

    def __init__(self, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s  # for the connection, and for each answer of the peer

    def send(self, peer: PeerSettings, calling_ae: str, objects: Sequence[OutgoingObject]) -> list[SendOutcome]:
        """Send the objects in order, over one association as long as 128 presentation contexts are enough.

        Outcomes are in the order of ``objects``. When an association is lost, the object under way and those
        after it are reported as not sent; the one under way may nevertheless have arrived.

        Raises:
            PeerError: the first association cannot be opened, so nothing was sent.
        """
        outcomes: list[SendOutcome] = []
        for group in _groups(objects):
            try:
                outcomes += self._send_group(peer, calling_ae, group)
            except PeerError as error:
                if not outcomes:
                    raise
                outcomes += [_not_sent(each, error) for each in group]
        return outcomes

    def _send_group(self, peer: PeerSettings, calling_ae: str, objects: Sequence[OutgoingObject]) -> list[SendOutcome]:
        proposals = list(dict.fromkeys(each.proposal for each in objects))
        association = Association(peer, calling_ae, proposals, timeout_s=self._timeout_s)
        return list(_send_over(association, peer, objects))


def _send_over(
    association: Association, peer: PeerSettings, objects: Sequence[OutgoingObject]
) -> Iterator[SendOutcome]:
    lost: PeerError | None = None
    for each in objects:
        if lost is not None:
            yield _not_sent(each, lost)
            continue
        try:
            yield _send_one(association, peer, each)
        except PeerError as error:
            association.abort()
            lost = error
            yield _not_sent(each, error)
    if lost is None:
        association.release()


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
        )
    try:
        file = _open_data_set(each.path)
    except (NotDicomError, OSError) as error:
        return SendOutcome(uid, None, False, f"the file cannot be sent: {error}")
    with file:
        association.store(agreed.id, each.sop_class_uid, uid, file)
    answer, _ = association.response()
    status = answer.number(0x0900)
    if status is None:
        return SendOutcome(uid, None, False, f"{name(peer)} answered without a status")
    comment = answer.elements.get(0x0902, b"").strip(b"\0 ").decode("latin-1")
    return SendOutcome(uid, status, stored(status), _describe(status, comment))


def stored(status: int) -> bool:
    """Whether a C-STORE status means that the peer has the object: success or a warning (PS3.7 C.1, PS3.4 B.2.3)."""
    return status in (0x0000, 0x0001, 0x0107, 0x0116) or 0xB000 <= status <= 0xBFFF


def _describe(status: int, comment: str) -> str:
    if status == 0:
        return ""
    meaning = {
        0x0110: "processing failure",
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


def _not_sent(each: OutgoingObject, error: PeerError) -> SendOutcome:
    return SendOutcome(each.sop_instance_uid, None, False, f"not sent: {error.message}")


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
