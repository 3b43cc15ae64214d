"""What a door that takes objects over DIMSE must offer, and what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class InboundAssociation:
    """An association a peer opened to us."""

    id: str  # ours, unique
    calling_ae: str  # the peer's AE title
    called_ae: str  # ours, as the peer wrote it
    peer: str  # network address of the peer


@dataclass(frozen=True, slots=True)
class InboundObject:
    """An object a peer is about to send. UIDs are bytes as sent, without padding; they may be malformed."""

    sop_class: bytes
    sop_instance: bytes
    transfer_syntax: str
    association: InboundAssociation


class ObjectSink(Protocol):
    """Takes the bytes of one data set."""

    def write(self, views: Sequence[memoryview | bytes]) -> None:
        """Append; raises OSError when that fails. The views are only valid during the call."""

    def commit(self) -> None:
        """Make it durable; raises OSError when that fails. Success is answered after this returns."""

    def discard(self) -> None:
        """Forget it; also called after ``write`` failed."""


class StoreService(Protocol):
    """Receives objects. Called from a thread per association."""

    def full(self) -> str:
        """Why there is no room for what another association may bring; empty where there is."""

    def begin(self, inbound: InboundObject) -> ObjectSink:
        """Start an object; raises OSError when there is no room for it."""

    def association_ended(self, association: InboundAssociation, objects: int, *, aborted: bool) -> None:
        """An established association is over; ``objects`` of it were answered with Success."""
