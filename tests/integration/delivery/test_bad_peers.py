"""Peers that misbehave: each failure is told apart, nothing is given up, nothing is sent twice."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deliveries import bench_in
from pynetdicom import AE, evt

from dicom_node.archive.database import Database
from dicom_node.domain.parcel import ParcelState
from dicom_node.settings import PeerSettings

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a pynetdicom peer that answers C-STORE by ``handler``; returns its port."""
    servers = []

    def start(handler: Callable[[Any], int] = lambda event: 0, sop_class: str = CT, called: str = "") -> int:
        ae = AE("PACS")
        ae.add_supported_context(sop_class, [EXPLICIT])
        if called:
            ae.ae_title, ae.require_called_aet = called, True
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handler)])
        servers.append(server)
        return int(server.socket.getsockname()[1])

    yield start
    for server in servers:
        server.shutdown()


def test_an_association_that_is_rejected(database: Database, tmp_path: Path, serve: Serve) -> None:
    bench = bench_in(database, tmp_path, serve(called="SOMEBODY"))
    number = bench.add()
    bench.run(5)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.tries, parcel.error["reason"]) == (ParcelState.DUE, 5, "rejected")
    assert "correct ae_title of this peer" in parcel.error["remedy"]


def test_contexts_that_are_refused(database: Database, tmp_path: Path, serve: Serve) -> None:
    bench = bench_in(database, tmp_path, serve(sop_class="1.2.840.10008.5.1.4.1.1.4"))
    number = bench.add()
    bench.run(3)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.error["reason"]) == (ParcelState.REFUSED, "context-refused")
    assert "SOP class not supported" in parcel.error["message"]


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (0x0000, ParcelState.SENT, None),
        (0x0111, ParcelState.SENT, None),
        (0xB000, ParcelState.SENT, None),
        (0xB007, ParcelState.SENT, None),
        (0xA700, ParcelState.DUE, "out-of-resources"),
        (0xA7FF, ParcelState.DUE, "out-of-resources"),
        (0x0110, ParcelState.DUE, "peer-failure"),
        (0xFE00, ParcelState.DUE, "peer-failure"),
        (0xFF00, ParcelState.DUE, "peer-failure"),
        (0x0122, ParcelState.REFUSED, "object-refused"),
        (0x0124, ParcelState.REFUSED, "object-refused"),
        (0xA900, ParcelState.REFUSED, "object-refused"),
        (0xC000, ParcelState.REFUSED, "object-refused"),
        (0xCFFF, ParcelState.REFUSED, "object-refused"),
    ],
)
def test_every_class_of_status(
    database: Database, tmp_path: Path, serve: Serve, status: int, state: ParcelState, reason: str | None
) -> None:
    bench = bench_in(database, tmp_path, serve(lambda event: status))
    number = bench.add()
    bench.run(4)
    parcel = bench.parcel(number)
    assert (parcel.state, (parcel.error or {}).get("reason")) == (state, reason)


def test_a_peer_that_changes_its_answer(database: Database, tmp_path: Path, serve: Serve) -> None:
    asked: list[str] = []

    def capricious(event: Any) -> int:
        asked.append(str(event.request.AffectedSOPInstanceUID))
        return 0xA700 if len(asked) % 2 else 0x0000

    bench = bench_in(database, tmp_path, serve(capricious))
    number = bench.add(objects=4)
    bench.run(10)
    assert bench.parcel(number).state == ParcelState.SENT
    stored = asked[1::2]
    assert len(stored) == len(set(stored)) == 4  # what it took once was not sent again


def test_a_peer_that_aborts_at_one_object_gets_all_the_others(database: Database, tmp_path: Path, serve: Serve) -> None:
    poison = ["2.25.1.1"]
    taken: list[str] = []

    def abort(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid in poison:
            event.assoc.abort()
            return 0
        taken.append(uid)
        return 0

    bench = bench_in(database, tmp_path, serve(abort))
    bad, fine = bench.add(objects=3), bench.add()
    bench.run(3)
    parcel = bench.parcel(bad)
    assert (parcel.state, parcel.error["reason"]) == (ParcelState.DUE, "aborted")
    assert [made.sop_uid for made in parcel.missing] == poison
    assert bench.parcel(fine).state == ParcelState.SENT
    assert sorted(taken) == ["2.25.1.0", "2.25.1.2", "2.25.2.0", "2.25.2.1"]


def test_a_peer_that_stalls_in_the_middle_of_an_object(database: Database, tmp_path: Path, serve: Serve) -> None:
    with _stalling(serve()) as port:
        peer = PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=port, check=False)
        bench = bench_in(database, tmp_path, peers=[peer])
        number = bench.add(objects=1, size=64_000_000)  # more than all buffers on the way hold
        bench.run()
        parcel = bench.parcel(number)
        assert (parcel.state, parcel.error["reason"]) == (ParcelState.DUE, "stalled")
        assert "in the middle of an object" in parcel.error["message"]


def test_a_peer_that_never_answers(database: Database, tmp_path: Path, serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bench = bench_in(database, tmp_path, silent.getsockname()[1])
        number = bench.add()
        bench.run()
        assert bench.parcel(number).error["reason"] == "no-answer"


@contextlib.contextmanager
def _stalling(port: int) -> Iterator[int]:
    """Passes on the first MB, then reads no more."""
    with socket.create_server(("127.0.0.1", 0)) as front:
        front.settimeout(20)

        def carry() -> None:
            client, _ = front.accept()
            with client, socket.create_connection(("127.0.0.1", port)) as behind:
                back = threading.Thread(target=_copy, args=(behind, client), daemon=True)
                back.start()
                left = 1_000_000
                while left > 0 and (data := client.recv(min(65536, left))):
                    left -= len(data)
                    behind.sendall(data)
                over.wait(30)
                with contextlib.suppress(OSError):
                    behind.shutdown(socket.SHUT_RDWR)  # closing alone would not wake who reads from it
            back.join(30)

        over = threading.Event()
        thread = threading.Thread(target=carry)
        thread.start()
        try:
            yield int(front.getsockname()[1])
        finally:
            over.set()
            thread.join(30)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x01", "rejected", "no reason given"),
        (b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x02", "rejected", "application context name not supported"),
        (b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x03", "rejected", "calling ae title not recognised"),
        (b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x07", "rejected", "called ae title not recognised"),
        (b"\x03\x00\x00\x00\x00\x04\x00\x01\x02\x02", "rejected", "protocol version not supported"),
        (b"\x03\x00\x00\x00\x00\x04\x00\x02\x03\x01", "rejected", "temporary congestion"),
        (b"\x03\x00\x00\x00\x00\x04\x00\x02\x03\x02", "rejected", "local limit exceeded"),
        (b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00", "aborted", "service-user"),
        (b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x01", "aborted", "service-provider"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not-dicom", "does not speak DICOM"),
        (b"\x02\x00\x00\x00\x00\x02\x00\x01", "not-dicom", "cannot be read"),
        (b"", "lost", "closed the connection"),
    ],
)
def test_every_answer_to_an_association_request(
    database: Database, tmp_path: Path, answer: bytes, reason: str, words: str
) -> None:
    with _answering(answer) as port:
        bench = bench_in(database, tmp_path, port)
        number = bench.add()
        bench.run(4)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.tries, parcel.error["reason"]) == (ParcelState.DUE, 4, reason)
    assert words in parcel.error["message"]
    assert parcel.error["remedy"]


@contextlib.contextmanager
def _answering(answer: bytes) -> Iterator[int]:
    """Gives this answer to whatever comes first, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as front:

        def serve() -> None:
            while True:
                try:
                    client, _ = front.accept()
                except OSError:
                    return
                with client:
                    client.recv(65536)
                    client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(front.getsockname()[1])
        finally:
            front.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def test_refusals_are_told_by_sop_class_and_transfer_syntax(database: Database, tmp_path: Path, serve: Serve) -> None:
    bench = bench_in(database, tmp_path, serve(sop_class="1.2.840.10008.5.1.4.1.1.4"))
    number = bench.add()
    bench.run(3)
    message = bench.parcel(number).error["message"]
    assert f"SOP class {CT} in transfer syntax {EXPLICIT}" in message
