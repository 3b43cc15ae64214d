"""Destinations that are DICOM application entities: C-STORE, looked into by C-FIND."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from dicom_node.delivery.destination import Paid
from dicom_node.dimse.find import instances_held
from dicom_node.dimse.send import Sender
from dicom_node.dimse.study_record import study_records
from dicom_node.domain.record import StudyRecord, Subject
from dicom_node.domain.sending import OutgoingObject, SendOutcome
from dicom_node.settings import PeerSettings, Settings


class DicomDestination:
    """Sends over one association at a time and thread."""

    looks_by = "C-FIND"

    def __init__(self, settings: Settings) -> None:
        self._calling_ae = settings.node.ae_title
        self._tls = settings.tls
        self._sender = Sender(settings.delivery.timeout_seconds, settings.tls)

    def send(
        self, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
    ) -> Generator[SendOutcome, None, None]:
        """See :class:`~dicom_node.delivery.destination.Destination`."""
        return self._sender.outcomes(peer, self._calling_ae, objects, paid)

    def holds(self, peer: PeerSettings, objects: Sequence[OutgoingObject]) -> frozenset[str]:
        """See :class:`~dicom_node.delivery.destination.Destination`."""
        series = dict.fromkeys(each.series_uid for each in objects)
        return instances_held(peer, self._calling_ae, objects[0].study_uid, series, tls=self._tls)

    def records(self, peer: PeerSettings, subject: Subject, within_s: float) -> tuple[StudyRecord, ...] | None:
        """See :class:`~dicom_node.delivery.destination.Destination`."""
        return study_records(peer, self._calling_ae, subject.study_uid, subject.images, within_s, tls=self._tls)

    def close(self) -> None:
        """Nothing is kept open."""
