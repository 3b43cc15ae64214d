"""The bytes of a data set as they flow past: in pieces, inflated where they are deflated, hashed as stored."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from dicom_node.archive.dictionary import name_of
from dicom_node.errors import HeaderError, NotDicomError

LARGEST_INFLATED = 8 << 30  # bytes; a deflated data set beyond it is refused
_PIECE = 1 << 18
_BEGINNING = 1 << 14  # nearly all images say in it all that they say of themselves


class Hash(Protocol):
    """Takes in bytes."""

    def update(self, data: bytes, /) -> None: ...


@dataclass(slots=True)
class Content:
    """The bytes of a data set, inflated where they are deflated; hashes what is stored, if ``hashing``.

    If not, what is skipped need not be read, and mostly is not.
    """

    file: BinaryIO
    left: int  # stored bytes not read yet
    deflated: bool
    path: Path
    hashing: bool = True
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    tee: Hash | None = None  # also takes in all that is consumed
    element: int = 0  # tag being read, to name it when the file ends
    piece: bytes = b""
    at: int = 0
    _next_read: int = _PIECE
    _inflater: zlib._Decompress | None = None
    _inflated: int = 0

    def __post_init__(self) -> None:
        if not self.hashing:
            self._next_read = _BEGINNING
        if self.deflated:
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        if len(self.piece) - self.at < count:
            return b"".join(self.pieces(count))
        data = self.piece[self.at : self.at + count]
        self.at += count
        if self.tee is not None:
            self.tee.update(data)
        return data

    def skip(self, count: int) -> None:
        """Let ``count`` bytes pass."""
        ahead = count - (len(self.piece) - self.at)
        if ahead > 0 and not (self.hashing or self.deflated or self.tee):
            if ahead > self.left:
                self._raise_truncated()
            self.file.seek(ahead, os.SEEK_CUR)
            self.left -= ahead
            self.at = len(self.piece)
            return
        for _ in self.pieces(count):
            continue

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next ``count`` bytes in pieces."""
        if not self.deflated and count > self.left + len(self.piece) - self.at:
            self._raise_truncated()
        while count:
            if self.at == len(self.piece) and not self._fill():
                self._raise_truncated()
            data = self.piece[self.at : self.at + count]
            self.at += len(data)
            count -= len(data)
            if self.tee is not None:
                self.tee.update(data)
            yield data

    def has(self, count: int) -> bool:
        """Whether at least ``count`` bytes follow."""
        while len(self.piece) - self.at < count:
            rest = self.piece[self.at :]
            if not self._fill():
                return False
            self.piece, self.at = rest + self.piece, 0
        return True

    def drain(self) -> None:
        """Read to the end of the file, where there is something to be learnt from it."""
        while (self.hashing or self.deflated) and self._fill():
            continue

    def _fill(self) -> bool:
        """Take the next piece; False at the end."""
        while True:
            rest = self._inflater.unconsumed_tail if self._inflater and not self._inflater.eof else b""
            stored = rest or (self.file.read(self._next_read) if self.left > 0 else b"")
            if not stored:
                return False
            if not rest:
                self.left -= len(stored)
                self._next_read = _PIECE
                if self.hashing:
                    self.digest.update(stored)
            data = self._inflate(self._inflater, stored) if self._inflater else stored
            if data:
                self.piece, self.at = data, 0
                return True

    def _inflate(self, inflater: zlib._Decompress, stored: bytes) -> bytes:
        if inflater.eof:  # what follows the deflated stream is padding
            return b""
        try:
            data = inflater.decompress(stored, _PIECE)
        except zlib.error as error:
            raise NotDicomError(f"{self.path}: the deflated data set is damaged: {error}", reason="damaged") from error
        self._inflated += len(data)
        if self._inflated > LARGEST_INFLATED:
            raise HeaderError(
                f"{self.path}: the deflated data set is larger than {LARGEST_INFLATED >> 30} GiB", reason="too-large"
            )
        return data

    def _raise_truncated(self) -> None:
        raise NotDicomError(
            f"{self.path}: the file ends inside {name_of(self.element)}",
            reason="truncated",
            remedy="send the object again; it was cut off before it reached us",
        )
