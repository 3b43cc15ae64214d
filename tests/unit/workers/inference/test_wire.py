"""Messages, file descriptors and arrays between a worker and a host."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.inference import wire

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


@given(message=st.dictionaries(st.text(), JSON))
def test_what_is_sent_is_received(message: dict[str, object]) -> None:
    here, there = socket.socketpair()
    with here, there:
        wire.send(here, message)
        wire.send(here, {"next": 1})

        assert wire.receive(there) == (message, [])
        assert wire.receive(there) == ({"next": 1}, [])


def test_an_array_travels_without_a_name(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    with wire.share(array[:, ::-1]) as file:
        wire.send(here, {"shape": [3, 4, 5]}, [file.fileno()])
        assert not isinstance(file.name, str) or not Path(file.name).exists()
    received = wire.receive(there)

    assert received is not None
    mapped = wire.mapped(received[1][0], np.float32, (3, 4, 5))
    assert np.array_equal(mapped, array[:, ::-1])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(received[1][0])


def test_integers_arrive_as_floats(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    array = np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4)
    with wire.share(array) as file:
        wire.send(here, {}, [file.fileno()])
    received = wire.receive(there)

    assert received is not None
    assert np.array_equal(wire.mapped(received[1][0], np.float32, (2, 3, 4)), array)


def test_a_closed_connection_is_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].close()

    assert wire.receive(pair[1]) is None


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x00",
        b"\x00\x00\x00\x05{",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01{",
        b"\x00\x00\x00\x01\xff",
        b"\x00\x00\x00\x02[]",
    ],
)
def test_what_is_no_message_is_refused(pair: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    pair[0].sendall(sent)
    pair[0].close()

    with pytest.raises(wire.WireError):
        wire.receive(pair[1])
