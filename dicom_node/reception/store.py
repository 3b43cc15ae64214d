"""The store service: data sets from peers become files, each with its receipt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from isal.isal_zlib import crc32

from dicom_node.archive.files import Reservation, SegmentWriter
from dicom_node.archive.receipt import Receipt, file_meta, seal, seal_at
from dicom_node.dimse.inbound import InboundAssociation, InboundObject
from dicom_node.reception.hints import Hints
from dicom_node.settings import NodeSettings


class FileStoreService:
    """Puts each object into the file store as it was received, bit for bit."""

    def __init__(self, writer: SegmentWriter, hints: Hints, limits: NodeSettings | None = None) -> None:
        self._writer = writer
        self._hints = hints
        self._limits = limits or NodeSettings()
        self._one_flush = writer.names_follow_files and self._limits.commit == "auto"

    def full(self) -> str:
        """Why there is no room for what another association may bring, empty where there is."""
        return too_full(self._writer, self._limits)

    def begin(self, inbound: InboundObject) -> FileSink:
        """Reserve a place for the object.

        Raises:
            OSError: there is no room for it.
        """
        association = inbound.association
        receipt = Receipt(
            calling_ae=association.calling_ae,
            called_ae=association.called_ae,
            peer=association.peer,
            association=association.id,
            received=datetime.now(UTC),
            sealed=self._one_flush,
        )
        meta = file_meta(inbound.sop_class, inbound.sop_instance, inbound.transfer_syntax, receipt)
        return FileSink(self._writer.reserve(), meta, self._hints, seal_at(meta) if self._one_flush else None)

    def association_ended(self, association: InboundAssociation, objects: int, *, aborted: bool) -> None:
        """Tell the node; most studies are whole when their association ends."""
        self._hints.association_ended(
            association.id,
            calling_ae=association.calling_ae,
            called_ae=association.called_ae,
            peer=association.peer,
            objects=objects,
            aborted=aborted,
        )


class FileSink:
    """One object on its way into the file store."""

    def __init__(self, reservation: Reservation, meta: bytes, hints: Hints, seal_at: int | None = None) -> None:
        """``seal_at``: where in ``meta`` the seal stands, when a single flush is to do."""
        self._reservation = reservation
        self._meta = meta  # written with the first bytes of the data set, in one call
        self._hints = hints
        self._seal_at = seal_at
        self._size = self._crc = 0

    def write(self, views: Sequence[memoryview | bytes]) -> None:
        """Append to the data set."""
        if self._seal_at is not None:
            for view in views:
                self._size += len(view)
                self._crc = crc32(view, self._crc)
        if self._meta:
            views, self._meta = [self._meta, *views], b""
        self._reservation.write(views)

    def commit(self) -> None:
        """Make it durable, then wake the node."""
        if self._seal_at is None:
            self._reservation.commit()
        else:
            self._reservation.commit_at_once(seal(self._size, self._crc), self._seal_at)
        self._hints.stored()

    def discard(self) -> None:
        """Leave nothing of it."""
        self._reservation.discard()


def too_full(writer: SegmentWriter, limits: NodeSettings, coming: int = 0) -> str:
    """Why nothing more is taken, empty where it is: the disk's high mark. ``coming``: bytes that are announced."""
    free, whole = writer.room()
    least = max(limits.least_free_bytes, int(whole * limits.least_free_percent / 100)) + coming
    return f"{free / 1e6:.0f} MB of the disk are free, {least / 1e6:.0f} MB must be" if free < least else ""
