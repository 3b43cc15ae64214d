"""Destinations that are DICOMweb servers: STOW-RS, looked into by QIDO-RS."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence

import httpx

from dicom_node.archive.outgoing import OutgoingFile, unsendable
from dicom_node.delivery.destination import Paid
from dicom_node.domain.record import StudyRecord, Subject
from dicom_node.domain.sending import OutgoingObject, SendOutcome, describe, reason_of, stored
from dicom_node.errors import InputError, PeerError
from dicom_node.exchange import qido, stow
from dicom_node.exchange.web_client import open_client
from dicom_node.settings import PeerSettings, Settings

# What one request holds at most: when it breaks, all of it is sent again.
MOST_OBJECTS = 50
MOST_BYTES = 64_000_000
_SECRET_MAY_HAVE_CHANGED = ("not-authorized", "no-token")


class WebDestination:
    """Sends several objects in one request; connections are kept open between requests."""

    looks_by = "QIDO-RS"

    def __init__(self, settings: Settings) -> None:
        self._tls = settings.tls
        self._timeout_s = settings.delivery.timeout_seconds
        self._lock = threading.Lock()
        self._clients: dict[str, httpx.Client] = {}

    def send(
        self, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
    ) -> Generator[SendOutcome, None, None]:
        """See :class:`~dicom_node.delivery.destination.Destination`."""
        client = self._client(peer)
        try:
            for group in _groups(objects):
                yield from _send(client, peer, group, paid)
        except PeerError as error:
            if error.reason in _SECRET_MAY_HAVE_CHANGED:
                self._forget(peer)
            raise

    def holds(self, peer: PeerSettings, objects: Sequence[OutgoingObject]) -> frozenset[str]:
        """See :class:`~dicom_node.delivery.destination.Destination`."""
        series = dict.fromkeys(each.series_uid for each in objects)
        return qido.instances_held(self._client(peer), peer, objects[0].study_uid, series)

    def records(self, peer: PeerSettings, subject: Subject, within_s: float) -> tuple[StudyRecord, ...] | None:
        """See :class:`~dicom_node.delivery.destination.Destination`."""
        return qido.study_records(self._client(peer), peer, subject.study_uid, subject.images, within_s)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _forget(self, peer: PeerSettings) -> None:
        """Open a new client next time; the old one may be in use by another lane, and goes when that is done."""
        with self._lock:
            self._clients.pop(peer.name, None)

    def _client(self, peer: PeerSettings) -> httpx.Client:
        with self._lock:
            if peer.name not in self._clients:
                self._clients[peer.name] = open_client(peer, self._tls, self._timeout_s)
            return self._clients[peer.name]


def _send(
    client: httpx.Client, peer: PeerSettings, group: Sequence[OutgoingObject], paid: Paid
) -> Iterator[SendOutcome]:
    """One request, or several where the server refuses one as a whole: then each object gets an answer of its own."""
    parts: list[stow.Part] = []
    unreadable: dict[str, SendOutcome] = {}
    for each in group:
        try:
            parts.append(stow.Part(each.sop_instance_uid, OutgoingFile(each)))
        except (InputError, OSError) as error:
            unreadable[each.sop_instance_uid] = unsendable(each, error)
    try:
        told = stow.store(client, peer, parts, paid) if parts else {}
    except OSError as error:
        yield from (unsendable(each, error) for each in group)
        return
    except PeerError as error:
        if error.reason != "object-refused":
            raise
        if len(group) == 1:
            yield SendOutcome(group[0].sop_instance_uid, None, False, error.message, error.reason)
            return
        half = len(group) // 2
        yield from _send(client, peer, group[:half], paid)
        yield from _send(client, peer, group[half:], paid)
        return
    for each in group:
        uid = each.sop_instance_uid
        yield unreadable[uid] if uid in unreadable else _outcome(uid, told[uid])


def _outcome(uid: str, status: int) -> SendOutcome:
    return SendOutcome(uid, status, stored(status), describe(status), reason_of(status))


def _groups(objects: Sequence[OutgoingObject]) -> Iterator[list[OutgoingObject]]:
    group: list[OutgoingObject] = []
    size = 0
    for each in objects:
        try:
            more = each.path.stat().st_size
        except OSError:
            more = 0  # told when it is opened
        if group and (len(group) == MOST_OBJECTS or size + more > MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(each)
        size += more
    if group:
        yield group
