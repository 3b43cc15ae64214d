"""Cuts the bytes of an established association into PDV fragments, without copying them (PS3.8 9.3.5, 9.3.1)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

P_DATA_TF = 0x04
LARGEST_OTHER_PDU = 1 << 16  # bytes; release and abort have 10
LARGEST_ASSOCIATE_PDU = 1 << 20  # bytes; 128 contexts of 40 transfer syntaxes each have some 200,000

# what pynetdicom raises when it decodes a PDU that is malformed
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, AssertionError, struct.error)

_TLS_HANDSHAKE = 0x16  # RFC 8446 5.1
_PDU = struct.Struct(">BBL")
_PDV = struct.Struct(">LBB")


class FramingError(ValueError):
    """Bytes that are no PDU; the association is aborted."""


class Fragment(NamedTuple):
    """A piece of a PDV; ``view`` is only valid until the framer is asked for room again."""

    context: int
    command: bool  # of a command set, else of a data set
    last: bool  # the message's command or data set ends with this piece
    view: memoryview


@dataclass(frozen=True, slots=True)
class OtherPDU:
    """A whole PDU that is not P-DATA."""

    encoded: bytes


class Framer:
    """Reads whole PDU and PDV headers, and hands on payload as it comes.

    Fill :meth:`room` from the socket, then iterate :meth:`pieces`; a header that is not complete is kept for the
    next time. A P-DATA PDU of more than ``largest_pdu`` bytes is an error, unless that is 0.
    """

    def __init__(self, size: int, largest_pdu: int = 0) -> None:
        self.pdus = 0  # that have begun
        self._largest_pdu = largest_pdu
        self._buffer = mmap.mmap(-1, size)  # takes memory only as far as it is used
        self._view = memoryview(self._buffer)
        self._start = 0  # the bytes from here to _end wait for more
        self._end = 0
        self._pdu_left = 0
        self._pdv_left = 0
        self._context = 0
        self._header = 0
        self._other = bytearray()  # a PDU that is not P-DATA
        self._other_left = 0

    @property
    def partial(self) -> bool:
        """Whether a PDU has begun and is not whole."""
        return bool(self._end > self._start or self._other_left or self._pdu_left or self._pdv_left)

    def room(self) -> memoryview:
        """Where to put what the socket gives. Fragments handed out before are overwritten from now on."""
        kept = self._end - self._start
        self._view[:kept] = bytes(self._view[self._start : self._end])
        self._start, self._end = 0, kept
        return self._view[kept:]

    def pieces(self, received: int) -> Iterator[Fragment | OtherPDU]:
        """What the ``received`` bytes in :meth:`room` complete.

        Raises:
            FramingError: these are no PDUs.
        """
        end = self._end = self._end + received
        position = 0
        while True:
            if self._other_left:
                taken = min(self._other_left, end - position)
                self._other += self._view[position : position + taken]
                self._other_left -= taken
                position += taken
                if self._other_left:
                    break
                encoded, self._other = bytes(self._other), bytearray()
                yield OtherPDU(encoded)
            elif self._pdv_left:
                taken = min(self._pdv_left, end - position)
                if not taken:
                    break
                self._pdv_left -= taken
                yield self._fragment(self._view[position : position + taken])
                position += taken
            elif end - position < _PDU.size:
                break
            elif self._pdu_left:
                empty = self._read_pdv_header(position)
                position += _PDV.size
                if empty:
                    yield self._fragment(self._view[:0])
            else:
                self._read_pdu_header(position)
                position += _PDU.size
        self._start = position

    def _fragment(self, view: memoryview) -> Fragment:
        last = bool(self._header & 2) and not self._pdv_left
        return Fragment(self._context, bool(self._header & 1), last, view)

    def _read_pdv_header(self, position: int) -> bool:
        """Whether the PDV carries nothing."""
        length, self._context, self._header = _PDV.unpack_from(self._buffer, position)
        if length < 2 or length + 4 > self._pdu_left:
            raise FramingError(f"a PDV of {length} bytes in a PDU with {self._pdu_left} left")
        self._pdu_left -= length + 4
        self._pdv_left = length - 2
        return bool(length == 2)

    def _read_pdu_header(self, position: int) -> None:
        kind, _, length = _PDU.unpack_from(self._buffer, position)
        self.pdus += 1
        if kind == P_DATA_TF:
            if 0 < self._largest_pdu < length:
                raise FramingError(f"a PDU of {length} bytes; at most {self._largest_pdu} were agreed upon")
            self._pdu_left = length
        elif 1 <= kind <= 7 and 0 < length <= (LARGEST_ASSOCIATE_PDU if kind <= 2 else LARGEST_OTHER_PDU):
            self._other = bytearray(self._view[position : position + _PDU.size])
            self._other_left = length
        elif kind == _TLS_HANDSHAKE:
            raise FramingError("it speaks TLS to a port that does not")
        else:
            raise FramingError(f"a PDU of type {kind:#04x} with {length} bytes")
