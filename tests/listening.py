"""A node that listens, and whose objects stay in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dicom_node.dimse.acceptor import Acceptor
from dicom_node.dimse.inbound import InboundAssociation, InboundObject
from dicom_node.settings import PeerSettings


@dataclass
class Memory:
    """A store service that keeps objects in memory."""

    objects: list[tuple[InboundObject, bytes]] = field(default_factory=list)
    ended: list[tuple[InboundAssociation, int, bool]] = field(default_factory=list)
    discarded: int = 0
    before_commit: Callable[[], None] = lambda: None

    def begin(self, inbound: InboundObject) -> Sink:
        return Sink(self, inbound)

    def association_ended(self, association: InboundAssociation, objects: int, *, aborted: bool) -> None:
        self.ended.append((association, objects, aborted))


@dataclass
class Sink:
    """Keeps one object."""

    memory: Memory
    inbound: InboundObject
    data: bytearray = field(default_factory=bytearray)

    def write(self, views: Sequence[memoryview | bytes]) -> None:
        self.data += b"".join(views)

    def commit(self) -> None:
        self.memory.before_commit()
        self.memory.objects.append((self.inbound, bytes(self.data)))

    def discard(self) -> None:
        self.memory.discarded += 1


@dataclass
class Node:
    """An acceptor and what it has received."""

    acceptor: Acceptor
    memory: Memory
    peer: PeerSettings  # itself, as a sender sees it
