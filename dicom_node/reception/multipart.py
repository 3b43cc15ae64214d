"""Read ``multipart/related`` (RFC 2046 5.1, RFC 2387) as it arrives, in memory that does not depend on its parts.

Bytes are fed in pieces of any size; events come out. A delimiter may be cut anywhere by the pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from enum import Enum, auto

LARGEST_HEADERS = 1 << 14  # bytes of one part's headers
LARGEST_PREAMBLE = 1 << 16  # bytes before the first delimiter
_LONGEST_PADDING = 256  # blanks after a delimiter
_PIECE = 1 << 16  # bytes that are looked at together; each part in them costs a copy of the rest


class MultipartError(ValueError):
    """The body is not what its media type promises."""


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins; names of headers are in small letters."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """The next bytes of the part."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is whole."""


Event = PartBegin | PartData | PartEnd


class _At(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    BODY = auto()
    EPILOGUE = auto()


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type header."""

    name: str  # in small letters, "type/subtype"
    parameters: Mapping[str, str] = field(default_factory=dict)  # names in small letters, quotes removed

    @classmethod
    def parse(cls, text: str) -> MediaType:
        """Read a header's value; ``text/plain`` where it cannot be read (RFC 2045 5.2)."""
        message = Message()
        message["content-type"] = text.replace("\r", " ").replace("\n", " ")
        found = message.get_params(failobj=[], unquote=True) or []
        parameters = {name.strip().lower(): str(value).strip(' "') for name, value in found[1:]}
        return cls(message.get_content_type(), parameters)


class MultipartReader:
    """Follows one body."""

    def __init__(self, boundary: str) -> None:
        """Raises MultipartError for a boundary that RFC 2046 does not allow."""
        if not 0 < len(boundary) <= 70 or not boundary.isascii() or not boundary.isprintable() or boundary[-1] == " ":
            raise MultipartError(f"the boundary must have 1 to 70 characters, not {boundary[:80]!r}")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._buffer = b"\r\n"  # the first delimiter needs no line break before it
        self._at = _At.PREAMBLE
        self._skipped = 0  # bytes of the preamble

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take the next bytes; what they bring. To be read to its end before the next call.

        Raises:
            MultipartError: the headers of a part cannot be read, or no delimiter comes.
        """
        for start in range(0, len(data), _PIECE):
            if self._at is _At.EPILOGUE:
                return
            self._buffer += data[start : start + _PIECE]
            yield from self._events()

    def _events(self) -> Iterator[Event]:
        while True:
            if self._at is _At.HEADERS:
                begin = self._headers()
                if begin is None:
                    return
                yield begin
                self._at = _At.BODY
            content, delimited, last = self._content()
            if self._at is _At.BODY and content:
                yield PartData(content)
            elif content:
                self._count_preamble(len(content))
            if not delimited:
                return
            if self._at is _At.BODY:
                yield PartEnd()
            self._at = _At.EPILOGUE if last else _At.HEADERS
            if last:
                return

    def close(self) -> None:
        """The body has ended.

        Raises:
            MultipartError: it ended before its closing delimiter.
        """
        if self._at is not _At.EPILOGUE:
            missing = "a delimiter" if self._at is _At.PREAMBLE else "the closing delimiter"
            raise MultipartError(f"the body ends without {missing}")

    def _content(self) -> tuple[bytes, bool, bool]:
        """Bytes before the next delimiter, whether it was found, and whether it is the closing one."""
        start = 0
        while True:
            found = self._buffer.find(self._delimiter, start)
            if found < 0:
                keep = len(self._delimiter) - 1
                return self._take(max(start, len(self._buffer) - keep)), False, False
            after = found + len(self._delimiter)
            tail = self._buffer[after : after + _LONGEST_PADDING + 2]
            if tail[:2] == b"--":
                return self._take(found), True, True
            if not tail or tail == b"-":  # what it is has not arrived yet
                return self._take(found), False, False
            line, end, _ = tail.partition(b"\r\n")
            padding = not line.rstrip(b"\r").strip(b" \t")
            if end and padding:
                content = self._take(found)
                self._buffer = self._buffer[len(self._delimiter) + len(line) :]  # its line break begins the headers
                return content, True, False
            if padding and len(tail) < _LONGEST_PADDING + 2:
                return self._take(found), False, False
            start = found + 2  # content that begins like a delimiter

    def _take(self, count: int) -> bytes:
        content, self._buffer = self._buffer[:count], self._buffer[count:]
        return content

    def _headers(self) -> PartBegin | None:
        block, end, rest = self._buffer.partition(b"\r\n\r\n")
        if len(block) > LARGEST_HEADERS:
            raise MultipartError(f"a part has more than {LARGEST_HEADERS} bytes of headers")
        if not end:
            return None
        self._buffer = rest
        headers: dict[str, str] = {}
        name = ""
        for line in block.decode("latin-1").split("\r\n"):
            if line[:1] in (" ", "\t") and name:
                headers[name] += " " + line.strip()
                continue
            if not line:
                continue
            name, colon, value = line.partition(":")
            name = name.strip().lower()
            if not colon or not name:
                raise MultipartError(f"a part has a header that cannot be read: {line[:80]!r}")
            headers[name] = value.strip()
        return PartBegin(headers)

    def _count_preamble(self, count: int) -> None:
        self._skipped += count
        if self._skipped > LARGEST_PREAMBLE:
            raise MultipartError(f"no delimiter in the first {LARGEST_PREAMBLE} bytes; is the boundary the right one?")
