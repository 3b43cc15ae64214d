"""What is broken on purpose: into each reader of a peer's bytes, and through the acceptor into the index."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from fuzz.mutation import mutate
from fuzz.targets import SYNTAXES, TARGETS, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listening import AcceptorProcess
from peers import wait_until
from soak.objects import EXPLICIT_LITTLE, MR, make, new_uid
from soak.processes import Footprint
from sqlalchemy import select

from dicom_node.archive.database import Database
from dicom_node.archive.index import Index
from dicom_node.archive.migrate import migrate
from dicom_node.archive.schema import instance
from dicom_node.dimse import command
from dicom_node.dimse.associate import Association, Proposal
from dicom_node.errors import PeerError
from dicom_node.reception.hints import HintListener
from dicom_node.reception.indexer import Indexer

LARGEST = 20_000_000  # bytes of a real file that is sent


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("target", sorted(TARGETS))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=False), data=st.binary(max_size=80))
def test_no_bytes_break_a_reader(target: str, chance: random.Random, data: bytes) -> None:
    TARGETS[target](mutate(chance, list(seeds(target))))
    TARGETS[target](data)


def store(acceptor: AcceptorProcess, objects: Sequence[tuple[str, bytes]]) -> list[int]:
    """Store bytes as data sets, each with the transfer syntax it claims; the statuses."""
    statuses = []
    proposals = [Proposal(MR, (syntax,)) for syntax in SYNTAXES]
    with Association(acceptor.peer, "STORESCU", proposals) as association:
        for syntax, data in objects:
            agreed = association.agreed(Proposal(MR, (syntax,)))
            assert agreed is not None
            association._message_id = association._message_id % 0xFFFF + 1
            request = command.request(
                command.C_STORE_RQ, MR, association._message_id, sop_instance=new_uid(), has_data_set=True
            )
            association._socket.sendall(command.pdu(agreed.id, 3, request))
            cuts = range(0, len(data), 100_000)
            for at in cuts:
                association._socket.sendall(command.pdu(agreed.id, 2 * (at == cuts[-1]), data[at : at + 100_000]))
            status = association.response()[0].number(0x0900)
            assert status is not None
            statuses.append(status)
    return statuses


def index(acceptor: AcceptorProcess) -> dict[str, str]:
    """State by path, once the indexer has been through everything."""
    database = Database("sqlite", acceptor.store.places.data_dir)
    migrate(database)
    hints = HintListener(acceptor.store.places.hints)
    try:
        indexer = Indexer(Index(database, acceptor.store.places.data_dir), acceptor.store, hints)
        wait_until(lambda: indexer.tick() == 0, "the indexer to come to an end")
        with database.read() as connection:
            found = {row.path: row.state for row in connection.execute(select(instance.c.path, instance.c.state))}
    finally:
        hints.close()
        database.close()
    return found


def stored(acceptor: AcceptorProcess) -> set[str]:
    return {acceptor.store.relative(path) for path in acceptor.store.places.objects.rglob("*.dcm")}


def as_sent(path: Path) -> tuple[str, bytes]:
    """A file as a broken peer might send it: what follows its meta information, or all of it where that is no good."""
    data = path.read_bytes()
    if data[128:132] == b"DICM" and data[132:140] == b"\2\0\0\0UL\4\0":
        meta_end = 144 + struct.unpack_from("<L", data, 140)[0]
        for syntax in sorted(SYNTAXES, key=len, reverse=True):
            if syntax.encode() in data[144:meta_end]:
                return syntax, data[meta_end:] or data
        return EXPLICIT_LITTLE, data[meta_end:] or data
    return "1.2.840.10008.1.2", data


@pytest.mark.data
def test_every_broken_file_is_taken_and_has_its_row(acceptor: AcceptorProcess, test_data: Path) -> None:
    folders = [test_data / name for name in ("malformed", "pydicom_mixed")]
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    sent = [as_sent(path) for path in files if 0 < path.stat().st_size < LARGEST]
    assert len(sent) > 50

    assert set(store(acceptor, sent)) == {0}

    states = index(acceptor)
    assert states.keys() == stored(acceptor)
    assert len(states) == len(sent)
    assert set(states.values()) >= {"current", "rejected"}


def test_objects_that_are_spoilt_are_kept_and_each_has_its_row(acceptor: AcceptorProcess) -> None:
    chance = random.Random(11)
    whole = list(seeds("data_set"))
    spoilt = [(SYNTAXES[data[0] % 4], data[1:]) for data in (mutate(chance, whole) for _ in range(400)) if data[1:]]
    good = make("2.25.77", 1, b"\0\1" * 50).data

    assert set(store(acceptor, [*spoilt, (EXPLICIT_LITTLE, good)])) == {0}

    states = index(acceptor)
    assert states.keys() == stored(acceptor)
    assert len(states) == len(spoilt) + 1
    assert {"current", "rejected"} <= set(states.values())


def test_streams_that_are_spoilt_leave_nothing_behind(acceptor: AcceptorProcess) -> None:
    assert acceptor.process is not None
    chance = random.Random(12)
    pid = acceptor.process.pid
    idle = Footprint.of(pid).threads
    requests, streams = list(seeds("association_request")), [data[1:] for data in seeds("pdus")]
    for number in range(150):
        if number == 50:
            wait_until(lambda: Footprint.of(pid).threads <= idle, "the first to end")
            before = Footprint.of(pid)
        spoilt = mutate(chance, streams)
        if number % 2:
            with socket.create_connection(("127.0.0.1", acceptor.port)) as connection:
                connection.sendall(mutate(chance, requests) + spoilt)
        else:
            with contextlib.suppress(PeerError, OSError):
                association = Association(acceptor.peer, "STORESCU", [Proposal(MR, (EXPLICIT_LITTLE,))])
                association._socket.sendall(spoilt)
                association.abort()
    wait_until(lambda: Footprint.of(pid).threads <= before.threads, "all to end")

    after = Footprint.of(pid)
    assert after.descriptors <= before.descriptors
    assert after.pss_mb - before.pss_mb < 20
    assert list(acceptor.store.places.objects.rglob("*.part")) == []
    assert store(acceptor, [(EXPLICIT_LITTLE, make("2.25.77", 1, b"\0\1" * 50).data)]) == [0]
