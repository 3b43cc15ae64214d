"""Objects on their way out, and what became of each: the same words for every kind of destination."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_node.domain.changes import Coercion


@dataclass(frozen=True, slots=True)
class OutgoingObject:
    """A Part 10 file to send."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_uid: str = ""
    series_uid: str = ""
    coercion: Coercion | None = None  # none: it is sent as it is


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one object."""

    sop_instance_uid: str
    status: int | None  # of the C-STORE response, or a Failure or Warning Reason; None: there was none
    ok: bool  # the peer has stored it, perhaps with a warning
    message: str  # in plain words; empty for plain success
    reason: str = ""  # why it is not there: one of the REASONS, or the reason of the PeerError that ended it
    note: str = ""  # how it was sent otherwise than it lies here


REASONS = {
    "context-refused": "the peer takes no such SOP class, or not in this transfer syntax",
    "object-refused": "the peer does not take this object as it is",
    "out-of-resources": "the peer has no room for it now",
    "peer-failure": "the peer failed on it",
    "unreadable-file": "our file cannot be read",
    "unchangeable": "it cannot be changed as the entry of the peer asks",
    "not-sent": "its turn did not come, since the association was lost before",
}
REFUSALS = (
    "context-refused",
    "object-refused",
    "unchangeable",
)  # sending it again changes nothing as long as the peer is as it is


def stored(status: int) -> bool:
    """Whether a storage status means that the peer has the object (PS3.7 C, PS3.4 B.2.3, PS3.18 10.5.3).

    These are success, the warnings, and 0x0111: an object of this UID is there already.
    """
    return status in (0x0000, 0x0001, 0x0107, 0x0111, 0x0116) or 0xB000 <= status <= 0xBFFF


def reason_of(status: int) -> str:
    """Why an object is not there, by its status; empty where it is."""
    if stored(status):
        return ""
    if status >> 8 == 0xA7:
        return "out-of-resources"
    # Processing failure (0x0110) and cancelled, or pending, answers are no judgement of the object.
    return "object-refused" if status >> 8 == 0xA9 or status >> 12 == 0xC or status in _REFUSED else "peer-failure"


_REFUSED = (0x0105, 0x0106, 0x0112, 0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121, 0x0122, 0x0124)  # PS3.7 C.5


def describe(status: int, comment: str = "") -> str:
    """A status in plain words, with what the peer adds; empty for success."""
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
