"""Objects that were sent on and come back, changed on their way or not: they count for nothing new."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, select

from dicom_node.archive.agreement import described_alike
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.header import read_header
from dicom_node.archive.originals import before_coercion
from dicom_node.archive.schema import forwarding, instance
from dicom_node.domain.study import Header
from dicom_node.errors import DicomNodeError

LOGGER = logging.getLogger(__name__)


class Rounds:
    """Recognises what came round, within a transaction of the index."""

    def __init__(self, connection: Connection, store: ObjectStore, site_id: int) -> None:
        self._connection = connection
        self._store = store
        self._site_id = site_id

    def came_back(self, path: str, header: Header) -> str:
        """How an object that was sent on came back, in words; empty where it did not.

        One that others coerced is known by its Original Attributes Sequence. A correction that is told as such, or not
        told at all, is none: it is a revision.
        """
        sent = self._connection.execute(
            select(instance.c.path, instance.c.digest, instance.c.calling_ae)
            .distinct()
            .join(forwarding, forwarding.c.instance_id == instance.c.id)
            .where(instance.c.site_id == self._site_id, instance.c.sop_uid == header.sop_instance_uid)
            .where(forwarding.c.parcel_id.is_not(None))
        ).all()
        if any(row.digest == header.digest and row.calling_ae != header.calling_ae[:16] for row in sent):
            return f"what was sent on came back from {header.calling_ae}"
        if sent and self._was(self._store.absolute(path), header, [row.path for row in sent]):
            return f"what was sent on came back from {header.calling_ae}, changed on its way"
        return ""

    def _was(self, path: Path, header: Header, sent: list[str]) -> bool:
        """Whether the object is one of those that were sent, but for what others coerced."""
        try:
            befores = list(before_coercion(path, header))
            known = [read_header(self._store.absolute(one)) for one in sent] if befores else []
        except (DicomNodeError, OSError) as error:
            LOGGER.error("an object cannot be compared with what was sent on: %s", error)
            return False
        return any(described_alike(before, one) for before in befores for one in known)
