"""Storage Commitment (PS3.4 J): a peer asks whether we answer for objects, so that it may delete its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

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


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored object that may be the one a request means."""

    id: int
    sop_class: str
    sop_uid: str
    state: InstanceState
    digest: str  # SHA-256 of its data set when it came in
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
