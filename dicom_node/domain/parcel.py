"""Parcels: results on their way to one destination.

due -> sent -> present -> committed
 |       refused: the peer will not take it as it is
 held: a person, or a newer result, keeps it back
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


@dataclass(frozen=True, slots=True)
class Artifact:
    """One result object: a file of ours, encoded once and sent as these bytes ever after."""

    kind: str  # seg, sr
    sop_uid: str
    sop_class: str
    series_uid: str
    transfer_syntax: str
    digest: str  # SHA-256 of the file
    path: str  # relative to the data directory
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Parcel:
    """Objects of one result set for one destination."""

    id: int
    study_id: int
    study_uid: str
    job_id: int
    model: str
    destination: str
    state: ParcelState
    tries: int
    next_try: datetime
    error: Mapping[str, Any] | None
    created_at: datetime
    sent_at: datetime | None
    artifacts: tuple[Artifact, ...]
