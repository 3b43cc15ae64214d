"""What is answered: JSON, XML, several parts one after the other. Bodies are made while they are sent."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fastapi import HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from dicom_node.web.dicomweb.negotiation import RELATED, Offer, Range, choose, ranges_of, refusal
from dicom_node.web.guard import is_loopback

PIECE = 1 << 18  # bytes of a file that are read, and sent, at once


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an answer."""

    content_type: str
    body: Iterable[bytes]
    location: str = ""  # its own address
    size: int | None = None  # bytes; None: not known before


def base_of(request: Request) -> str:
    """The address of this service, as the client wrote it.

    Some clients leave the port out of their Host header. On a loopback address no proxy is in between, and ours is
    the one that was meant.
    """
    url = request.base_url
    server = request.scope.get("server")
    if url.port is None and server and server[1] and is_loopback(url.hostname or ""):
        url = url.replace(port=server[1])
    return f"{str(url).rstrip('/')}/dicom-web"


def negotiated(request: Request, offers: Sequence[Offer]) -> Offer:
    """What of ``offers`` the client wants.

    Raises:
        HTTPException: 406, none of it; says what could be had.
    """
    ranges = wanted(request)
    chosen = choose(ranges, offers) if ranges or not _accept(request) else None
    if chosen is None:
        raise HTTPException(406, refusal(ranges, offers))
    return chosen


def wanted(request: Request) -> list[Range]:
    """What the client accepts; a parameter of the address counts before the header (PS3.18 8.3.3.1)."""
    return ranges_of(_accept(request), request.query_params.getlist("accept"))


def _accept(request: Request) -> str:
    return ", ".join(request.headers.getlist("accept"))


def multipart(media_type: str, parts: Iterable[Part], status: int = 200, *, sizes: Sequence[Part] = ()) -> Response:
    """Parts of one media type. ``sizes``: the same parts, where their sizes are known; then the whole is too."""
    boundary = secrets.token_hex(16)
    kind = f'{RELATED}; type="{media_type}"; boundary={boundary}'
    headers = {"Content-Type": kind}
    if sizes and all(part.size is not None for part in sizes):
        length = sum(len(_head(part, boundary)) + (part.size or 0) + 2 for part in sizes) + len(_tail(boundary))
        headers["Content-Length"] = str(length)
    return StreamingResponse(_gathered(_written(parts, boundary)), status, headers)


def whole(media_type: str, parts: Sequence[Part], status: int = 200) -> Response:
    """Parts that are short, in one piece."""
    boundary = secrets.token_hex(16)
    kind = f'{RELATED}; type="{media_type}"; boundary={boundary}'
    return Response(b"".join(_written(parts, boundary)), status, {"Content-Type": kind})


def single(part: Part, status: int = 200) -> Response:
    """One part, not wrapped."""
    headers = {"Content-Type": part.content_type, "Content-Location": part.location}
    if part.size is not None:
        headers["Content-Length"] = str(part.size)
    return StreamingResponse(_gathered(part.body), status, {name: value for name, value in headers.items() if value})


def _written(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    for part in parts:
        yield _head(part, boundary)
        yield from part.body
        yield b"\r\n"
    yield _tail(boundary)


def _head(part: Part, boundary: str) -> bytes:
    location = f"Content-Location: {part.location}\r\n" if part.location else ""
    return f"--{boundary}\r\nContent-Type: {part.content_type}\r\n{location}\r\n".encode("ascii")


def _tail(boundary: str) -> bytes:
    return f"--{boundary}--\r\n".encode("ascii")


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of a fair size: each one costs a change of threads."""
    kept = _Gathered()
    for piece in pieces:
        kept.pieces.append(piece)
        kept.size += len(piece)
        if kept.size >= PIECE:
            yield kept.take()
    if kept.size:
        yield kept.take()


@dataclass(slots=True)
class _Gathered:
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0

    def take(self) -> bytes:
        joined = b"".join(self.pieces)
        self.pieces, self.size = [], 0
        return joined
