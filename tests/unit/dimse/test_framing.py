from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.dimse.command import pdu
from dicom_node.dimse.framing import Fragment, Framer, FramingError, OtherPDU

RELEASE = bytes.fromhex("05000000000400000000")


def feed(stream: bytes, cuts: list[int], size: int = 64) -> list[Fragment | OtherPDU]:
    """Pass a stream through a framer in pieces of the given lengths, repeated; views are copied."""
    framer, found, position, turn = Framer(size), [], 0, 0
    while position < len(stream):
        room = framer.room()
        taken = min(cuts[turn % len(cuts)], len(room), len(stream) - position)
        room[:taken] = stream[position : position + taken]
        for piece in framer.pieces(taken):
            if isinstance(piece, Fragment):
                piece = Fragment(piece.context, piece.command, piece.last, memoryview(bytes(piece.view)))
            found.append(piece)
        position, turn = position + taken, turn + 1
    return found


PDVS = st.tuples(st.integers(0, 255), st.integers(0, 3), st.binary(max_size=150))


@given(
    pdus=st.lists(st.one_of(st.lists(PDVS, min_size=1, max_size=4), st.just(RELEASE)), max_size=6),
    cuts=st.lists(st.integers(1, 64), min_size=1, max_size=8),
)
def test_however_the_bytes_arrive_the_fragments_are_the_same(
    pdus: list[list[tuple[int, int, bytes]] | bytes], cuts: list[int]
) -> None:
    stream = b""
    expected: list[tuple[int, int, bytes] | bytes] = []
    for each in pdus:
        if isinstance(each, bytes):
            stream += each
            expected.append(each)
            continue
        body = b"".join(struct.pack(">LBB", len(data) + 2, cx, header) + data for cx, header, data in each)
        stream += struct.pack(">BBL", 4, 0, len(body)) + body
        expected += each
    seen: list[tuple[int, int, bytes] | bytes] = []
    whole = True
    for piece in feed(stream, cuts):
        if isinstance(piece, OtherPDU):
            seen.append(piece.encoded)
            continue
        if whole:
            seen.append((piece.context, 0, b""))
        context, _, data = seen[-1]
        data += bytes(piece.view)
        seen[-1] = (context, int(piece.command) + 2 * piece.last, data)
        goal = expected[len(seen) - 1]
        whole = len(data) == len(goal[2])
    assert seen == expected


def test_only_the_last_piece_of_the_last_fragment_is_last() -> None:
    stream = pdu(1, 0, b"a" * 100) + pdu(1, 2, b"b" * 100)
    pieces = [piece for piece in feed(stream, [64]) if isinstance(piece, Fragment)]
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert b"".join(piece.view for piece in pieces) == b"a" * 100 + b"b" * 100


def test_fragments_stay_as_they_are_until_room_is_asked_for() -> None:
    framer = Framer(64)
    stream = pdu(1, 0, b"first") + pdu(1, 2, b"second")
    room = framer.room()
    room[:12] = stream[:12]
    assert list(framer.pieces(12)) == []
    room = framer.room()
    room[:8] = stream[12:20]  # all of the first, and three bytes of the next header
    (piece,) = framer.pieces(8)
    assert isinstance(piece, Fragment)
    assert bytes(piece.view) == b"first"
    framer.room()[:15] = stream[20:]
    (piece,) = framer.pieces(15)
    assert isinstance(piece, Fragment)
    assert bytes(piece.view) == b"second"


def test_payload_is_not_copied() -> None:
    framer = Framer(64)
    room = framer.room()
    data = pdu(1, 2, b"payload")
    room[: len(data)] = data
    (piece,) = framer.pieces(len(data))
    room[12:19] = b"PAYLOAD"
    assert isinstance(piece, Fragment)
    assert bytes(piece.view) == b"PAYLOAD"


def test_it_knows_whether_a_pdu_is_whole() -> None:
    framer = Framer(64)
    seen = []
    for byte in pdu(1, 2, b"ab") + RELEASE:
        framer.room()[0] = byte
        list(framer.pieces(1))
        seen.append((framer.pdus, framer.partial))
    assert seen == [(0, True)] * 5 + [(1, True)] * 8 + [(1, False)] + [(1, True)] * 5 + [(2, True)] * 4 + [(2, False)]


def test_a_pdu_may_be_as_large_as_agreed_upon() -> None:
    for length, good in ((26, True), (27, False)):
        framer = Framer(64, largest_pdu=26)
        stream = pdu(1, 2, b"x" * (length - 6))
        framer.room()[: len(stream)] = stream
        if good:
            assert len(list(framer.pieces(len(stream)))) == 1
        else:
            with pytest.raises(FramingError, match="27 bytes; at most 26"):
                list(framer.pieces(len(stream)))


def test_an_association_request_may_be_long() -> None:
    request = struct.pack(">BBL", 1, 0, 200_000) + b"x" * 200_000
    (piece,) = feed(request, [64])
    assert piece == OtherPDU(request)


@pytest.mark.parametrize(
    "stream",
    [
        bytes.fromhex("1603010200010001fc0303"),
        bytes.fromhex("010000200000"),
        b"GET / HTTP/1.1\r\n",
        bytes.fromhex("000000000004"),
        bytes.fromhex("0500ffffffff"),
        bytes.fromhex("05000000000000"),
        struct.pack(">BBLLBB", 4, 0, 10, 1, 1, 2),
        struct.pack(">BBLLBB", 4, 0, 10, 100, 1, 2),
        struct.pack(">BBLLBB", 4, 0, 3, 2, 1, 2),
    ],
    ids=[
        "TLS",
        "huge request",
        "http",
        "type 0",
        "huge",
        "empty",
        "short PDV",
        "PDV beyond its PDU",
        "PDU too short for a PDV",
    ],
)
def test_what_is_no_pdu_is_refused(stream: bytes) -> None:
    with pytest.raises(FramingError):
        feed(stream, [64])
