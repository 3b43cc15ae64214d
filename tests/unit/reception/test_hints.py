from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.reception.hints import HintListener, Hints

ENDED = {
    "kind": "association-ended",
    "association": "a1",
    "calling_ae": "SCU",
    "called_ae": "DICOMNODE",
    "peer": "10.0.0.5",
    "objects": 3,
    "aborted": False,
}


def end_association(hints: Hints) -> None:
    hints.association_ended("a1", calling_ae="SCU", called_ae="DICOMNODE", peer="10.0.0.5", objects=3, aborted=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hints.sock"


@pytest.fixture
def hints(path: Path) -> Iterator[Hints]:
    sender = Hints(path)
    yield sender
    sender.close()


@pytest.fixture
def listener(path: Path) -> Iterator[HintListener]:
    receiver = HintListener(path)
    yield receiver
    receiver.close()


def test_what_is_said_is_heard_in_order_and_stored_only_once(hints: Hints, listener: HintListener, path: Path) -> None:
    other = Hints(path)
    hints.stored()
    end_association(hints)
    other.stored()
    assert listener.wait(5) == [{"kind": "stored"}, ENDED]
    assert listener.wait(0) == []
    other.close()


def test_many_objects_leave_room_for_the_end_of_their_association(hints: Hints, listener: HintListener) -> None:
    for _ in range(1000):
        hints.stored()
    end_association(hints)
    assert listener.wait(5) == [{"kind": "stored"}, ENDED]


def test_a_hint_ends_the_wait(hints: Hints, listener: HintListener) -> None:
    timer = threading.Timer(0.05, hints.stored)
    timer.start()
    assert listener.wait(30) == [{"kind": "stored"}]
    timer.join()


def test_nobody_has_to_listen(hints: Hints) -> None:
    hints.stored()
    end_association(hints)


def test_a_listener_that_does_not_read_blocks_nobody(hints: Hints, listener: HintListener) -> None:
    for _ in range(100_000):
        hints.stored()
    assert listener.wait(0) == [{"kind": "stored"}]


def test_a_new_listener_takes_the_place_of_one_that_died(path: Path, hints: Hints) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(path))
    again = HintListener(path)
    hints.stored()
    assert again.wait(5) == [{"kind": "stored"}]
    again.close()
    assert not path.exists()


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}", b'{"kind": 1}'])
def test_what_is_no_hint_is_ignored(path: Path, listener: HintListener, hints: Hints, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(data, str(path))
    hints.stored()
    assert listener.wait(5) == [{"kind": "stored"}]
