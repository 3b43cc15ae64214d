"""Parcels: results, or received objects, on their way to one destination.

due -> sent -> present -> committed
 |      |-> due again: the peer does not show what it took
 |-> refused: the peer will not take it as it is; a person must act
 |-> held: a person, a newer result or a correction keeps it back
 |-> cancelled: what it holds is withdrawn, or the images it speaks of are gone
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class ParcelState(StrEnum):
    """Where a parcel stands."""

    DUE = "due"
    SENT = "sent"  # every object answered with Success
    PRESENT = "present"  # found in the peer by C-FIND
    COMMITTED = "committed"  # the peer took responsibility (storage commitment)
    REFUSED = "refused"
    HELD = "held"
    CANCELLED = "cancelled"  # not to be sent any more, whatever a person does


class Purpose(StrEnum):
    """What the objects of a set are for."""

    RESULT = "result"
    NOTICE = "notice"  # tells people that there is no result, or not yet
    WITHDRAWAL = "withdrawal"  # takes a result back
    ASSESSMENT = "assessment"  # tells what a reader said of a result


# What a result set counts for is text in the ledger: current, superseded, withdrawn, and these.
REISSUED = "reissued"  # another set of the same findings has replaced it everywhere
SPARE = "spare"  # encoded beside another one, for destinations that refuse that; nobody has it
UNSEEN = (REISSUED, SPARE)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One object: a file of ours, encoded or received once and sent as these bytes ever after."""

    kind: str  # seg, sr, ko; of received objects the modality in small letters
    sop_uid: str
    sop_class: str
    series_uid: str
    transfer_syntax: str
    digest: str  # SHA-256 of the file
    path: str  # relative to the data directory
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Parcel:
    """Objects of one result set, or received objects, for one destination."""

    id: int
    study_id: int
    study_uid: str
    job_id: int | None  # none: received objects
    model: str  # empty: likewise
    rule: str  # that sends received objects on; empty for results
    destination: str
    state: ParcelState
    tries: int
    next_try: datetime
    error: Mapping[str, Any] | None
    created_at: datetime
    sent_at: datetime | None
    artifacts: tuple[Artifact, ...]
    taken: frozenset[str]  # SOP Instance UIDs that the peer has stored
    refusals: int  # tries in a row that the peer refused for good
    checks: int  # looks for it in the peer since it was sent last
    losses: int  # times that it was taken and then not found
    verification: str  # what came of the looks, in words
    purpose: Purpose | None = Purpose.RESULT  # none: received objects
    cleared: str = ""  # the difference to the destination's own record that a person has accepted
    record: str = ""  # what that record said before it was sent last, in words
    profile: str = ""  # name of the result set's encoding; empty: received objects

    @property
    def missing(self) -> tuple[Artifact, ...]:
        """What the peer has not taken yet; the one that failed last comes last, so that it hinders no other."""
        failed = (self.error or {}).get("object")
        untaken = [made for made in self.artifacts if made.sop_uid not in self.taken]
        return tuple(sorted(untaken, key=lambda made: made.sop_uid == failed))
