"""Stores objects on a DICOMweb server (STOW-RS, PS3.18 10.5): a request of several parts, read as it is sent."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from dicom_node.archive.outgoing import OutgoingFile
from dicom_node.exchange.web_client import DICOM_JSON, answered, fault, json_of
from dicom_node.settings import PeerSettings

_STORED, _FAILED = "00081199", "00081198"  # Referenced SOP Sequence, Failed SOP Sequence
_SOP_INSTANCE, _FAILURE_REASON = "00081155", "00081197"
_PROCESSING_FAILURE = 0x0110


@dataclass(frozen=True, slots=True)
class Part:
    """One object of a request."""

    sop_instance_uid: str
    file: OutgoingFile


def store(
    client: httpx.Client, peer: PeerSettings, parts: Sequence[Part], paid: Callable[[int], None] = lambda size: None
) -> Mapping[str, int]:
    """Send the objects in one request; the status of each by SOP Instance UID: 0, or its Failure Reason (0008,1197).

    ``paid`` is called with the size of each piece before it goes, and may wait.

    Raises:
        PeerError: there is no answer, or it refuses the request as a whole.
        OSError: a file cannot be read.
    """
    body = _Body(parts, paid)
    headers = {
        "Accept": DICOM_JSON,
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={body.boundary}',
        "Content-Length": str(body.size),
    }
    with answered(peer):
        response = client.post(f"{peer.url.rstrip('/')}/studies", content=body, headers=headers)
    if response.status_code not in (200, 202, 409):
        raise fault(peer, response)
    return statuses(response.status_code, json_of(response), [part.sop_instance_uid for part in parts])


def offered(client: httpx.Client, peer: PeerSettings) -> int:
    """The HTTP status of the answer to a request to store nothing.

    Raises:
        PeerError: there is no answer.
    """
    headers = {
        "Accept": DICOM_JSON,
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=nothing',
    }
    with answered(peer):
        response = client.post(f"{peer.url.rstrip('/')}/studies", content=b"--nothing--\r\n", headers=headers)
    return response.status_code


def statuses(http_status: int, answer: Any, sent: Sequence[str]) -> dict[str, int]:
    """What became of each object, by the response (PS3.18 10.5.3.2).

    What the answer does not mention is a processing failure, but where it has no such sequence at all and the status
    is 200: "all instances stored".
    """
    told = answer[0] if isinstance(answer, list) and answer else answer
    data = told if isinstance(told, dict) else {}
    stored = {_text(item, _SOP_INSTANCE): 0 for item in _items(data, _STORED)}
    failed = {_text(item, _SOP_INSTANCE): _number(item, _FAILURE_REASON) for item in _items(data, _FAILED)}
    silent = 0 if http_status == 200 and not {_STORED, _FAILED} & data.keys() else _PROCESSING_FAILURE
    return {uid: {**stored, **failed}.get(uid, silent) for uid in sent}


class _Body:
    """The body of a request; it may be sent again, as after a token has expired."""

    def __init__(self, parts: Sequence[Part], paid: Callable[[int], None]) -> None:
        self.boundary = secrets.token_hex(16)
        self._parts = [(self._head(first=not number), part.file) for number, part in enumerate(parts)]
        self._end = f"\r\n--{self.boundary}--\r\n".encode()
        self._paid = paid
        self.size = sum(len(head) + file.size for head, file in self._parts) + len(self._end)  # bytes

    def __iter__(self) -> Iterator[bytes]:
        for head, file in self._parts:
            yield head
            for piece in file:
                self._paid(len(piece))
                yield piece
        yield self._end

    def _head(self, *, first: bool) -> bytes:
        # No transfer-syntax parameter: it stands in the file, and Orthanc passes over parts that have one.
        before = "" if first else "\r\n"
        return f"{before}--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")


def _items(data: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    element = data.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _first(item: Mapping[str, Any], tag: str) -> Any:
    try:
        return item[tag]["Value"][0]
    except (KeyError, IndexError, TypeError):
        return None


def _text(item: Mapping[str, Any], tag: str) -> str:
    return str(_first(item, tag) or "")


def _number(item: Mapping[str, Any], tag: str) -> int:
    found = _first(item, tag)
    return found if isinstance(found, int) and 0 < found <= 0xFFFF else _PROCESSING_FAILURE
