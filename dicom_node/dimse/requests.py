"""Association requests. A peer asks in the same words each time, often for 128 contexts: they are read once."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_RQ

from dicom_node.dimse.framing import LARGEST_OTHER_PDU

ASSOCIATE_RQ = 0x01
_REMEMBERED = 32  # requests


class _Request(A_ASSOCIATE_RQ):  # type: ignore[misc]
    """One that is read already. Associations share its contexts, which nobody changes."""

    _read: Any = None

    def to_primitive(self) -> Any:
        """An A-ASSOCIATE indication of its own for each association."""
        if self._read is None:
            self._read = super().to_primitive()
        primitive = copy.copy(self._read)
        for name, value in vars(primitive).items():
            if isinstance(value, list):
                setattr(primitive, name, list(value))
        return primitive


def read_request(encoded: bytes) -> A_ASSOCIATE_RQ:
    """The A-ASSOCIATE-RQ of these bytes.

    Raises:
        whatever pynetdicom does of malformed ones: :data:`~dicom_node.dimse.framing.MALFORMED`.
    """
    return _remembered(encoded) if len(encoded) <= LARGEST_OTHER_PDU else _decoded(encoded)


def _decoded(encoded: bytes) -> A_ASSOCIATE_RQ:
    request = _Request()
    request.decode(encoded)
    request.to_primitive()
    return request


_remembered = lru_cache(_REMEMBERED)(_decoded)
