"""What every kind of destination offers to the courier; each stands in a module of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol

from dicom_node.domain.changes import Coercion
from dicom_node.domain.parcel import Artifact, Parcel
from dicom_node.domain.record import StudyRecord, Subject
from dicom_node.domain.sending import OutgoingObject, SendOutcome
from dicom_node.settings import NodeSettings, PeerSettings

Paid = Callable[[int], None]  # called with the size of each piece before it goes; waits where it is too much


class Destination(Protocol):
    """One kind of peer, for any number of threads."""

    looks_by: str  # how it is asked what it has, in a word

    def send(
        self, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
    ) -> Generator[SendOutcome, None, None]:
        """Send the objects in order; each outcome comes as soon as it is known. May be closed early.

        Raises:
            PeerError: it cannot be reached; what it has told before counts.
        """

    def holds(self, peer: PeerSettings, objects: Sequence[OutgoingObject]) -> frozenset[str]:
        """SOP Instance UIDs of those of the objects, all of one study, that it has.

        Raises:
            PeerError: it cannot be asked, or cannot tell.
        """

    def records(self, peer: PeerSettings, subject: Subject, within_s: float) -> tuple[StudyRecord, ...] | None:
        """How it has the images of a result now: their study, patient and order; None: its kind keeps no such record.

        Raises:
            PeerError: it cannot be asked, or cannot tell.
        """

    def close(self) -> None:
        """Let go of connections."""


Destinations = Mapping[str, Destination]  # by ``PeerSettings.kind``


def outgoing(parcel: Parcel, made: Artifact, node: NodeSettings, peer: PeerSettings) -> OutgoingObject:
    """An object of a parcel as it is sent to its destination; the same bytes each time."""
    changes = peer.changes
    return OutgoingObject(
        path=node.data_dir / made.path,
        sop_class_uid=made.sop_class,
        sop_instance_uid=made.sop_uid,
        transfer_syntax_uid=made.transfer_syntax,
        study_uid=parcel.study_uid,
        series_uid=made.series_uid,
        coercion=Coercion(changes, node.ae_title, parcel.created_at) if changes else None,
    )
