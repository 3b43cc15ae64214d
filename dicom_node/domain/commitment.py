"""Storage Commitment (PS3.4 J): a peer asks whether we answer for objects, so that it may delete its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.study import InstanceState

PUSH_MODEL = "1.2.840.10008.1.20.1"  # SOP class
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # its one, well-known SOP instance


class CommitmentState(StrEnum):
    """What has become of a request."""

    REQUESTED = "requested"  # durable, to be verified
    VERIFIED = "verified"  # decided, to be reported
    REPORTED = "reported"  # the peer has answered the report


class FailureReason(IntEnum):
    """Why we do not answer for an object: Failure Reason (0008,1197), PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119


@dataclass(frozen=True, slots=True)
class Reference:
    """An object as a request names it."""

    sop_class: str
    sop_uid: str


@dataclass(frozen=True, slots=True)
class Commitment:
    """One request, as the ledger has it."""

    id: int
    peer: str  # its name in the settings
    transaction_uid: str
    state: CommitmentState
    references: tuple[Reference, ...]
    failures: Mapping[str, int]  # SOP Instance UID -> FailureReason; decided once it is verified
    tries: int  # reports that were not answered
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored object that may be the one a request means."""

    id: int
    sop_class: str
    sop_uid: str
    state: InstanceState
    digest: str  # SHA-256 of its data set as it came in; empty until it was computed
    path: str  # relative to the data directory


def candidates(reference: Reference, stored: Sequence[Stored]) -> tuple[Stored, ...] | FailureReason:
    """The files that must be sound for us to answer for ``reference``, or why we never can.

    Every revision counts, since the peer may hold any of them. Two objects of one UID whose pixels differ are for a
    person to tell apart; until then nobody may delete either.
    """
    found = [one for one in stored if one.sop_uid == reference.sop_uid]
    if any(one.state is InstanceState.CONFLICT for one in found):
        return FailureReason.PROCESSING_FAILURE
    usable = tuple(one for one in found if one.state is not InstanceState.REJECTED)
    if not usable:
        return FailureReason.PROCESSING_FAILURE if found else FailureReason.NO_SUCH_OBJECT
    if any(one.sop_class != reference.sop_class for one in usable):
        return FailureReason.CLASS_INSTANCE_CONFLICT
    return usable


@dataclass(frozen=True, slots=True)
class Relayed:
    """A stored object with what has become of it at the archive that it is sent on to."""

    stored: Stored
    planned: bool = False  # whether it is known what is to become of it there
    parcel: ParcelState | None = None  # of the parcel it goes in; none: it came from there, or is not planned
    looked_for: bool = False  # whether the archive is still to be asked for more than it has told


def relayed(reference: Reference, found: Sequence[Relayed]) -> tuple[Stored, ...] | FailureReason | None:
    """The files that the archive has committed to in place of us, why it never will, or None: it has not yet.

    That an archive shows an object (C-FIND) is no promise to keep it.
    """
    usable = candidates(reference, [one.stored for one in found])
    if isinstance(usable, FailureReason):
        return usable
    current = next((one for one in found if one.stored.state is InstanceState.CURRENT), None)
    committed = tuple(one.stored for one in found if one.parcel is ParcelState.COMMITTED)
    if current is None or not current.planned:
        return None
    if current.parcel is None or current.parcel is ParcelState.COMMITTED:  # none: the archive has a later one itself
        return committed or (FailureReason.PROCESSING_FAILURE if current.parcel is None else None)
    if current.parcel in (ParcelState.SENT, ParcelState.PRESENT) and not current.looked_for:
        return FailureReason.PROCESSING_FAILURE
    return None
