"""Several acceptors on one port."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from listening import AcceptorProcess
from peers import end, free_port, wait_until

from dicom_node.dimse import command
from dicom_node.dimse.associate import Association, Proposal, echo
from dicom_node.errors import PeerError

CT = "1.2.840.10008.5.1.4.1.1.2"
PROPOSALS = [Proposal(CT, ("1.2.840.10008.1.2.1",))]
ENVIRONMENT = {"DICOM_NODE__NODE__ACCEPTORS": "2", "DICOM_NODE__NODE__MAXIMUM_ASSOCIATIONS": "8"}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[AcceptorProcess]]:
    """Two, with eight places for both."""
    first = AcceptorProcess(tmp_path / "a0", environment=ENVIRONMENT, data_dir=tmp_path / "data")
    second = replace(first, folder=tmp_path / "a1", name="a1")
    for each in (first, second):
        each.start()
    yield [first, second]
    for each in (first, second):
        if each.process is not None:
            each.process.send_signal(signal.SIGCONT)
            end(each.process)


def store(association: Association, number: int) -> int | None:
    asked = command.request(command.C_STORE_RQ, CT, number, sop_instance=f"1.2.{number}", has_data_set=True)
    association._socket.sendall(command.pdu(1, 3, asked) + command.pdu(1, 2, b"data"))
    association._message_id = number
    return association.response()[0].number(0x0900)


def opens(acceptor: AcceptorProcess) -> Association | None:
    try:
        return Association(acceptor.peer, "STORESCU", PROPOSALS, timeout_s=5)
    except PeerError as error:
        assert error.reason in ("rejected", "refused", "lost", "no-answer"), error
        return None


def test_they_share_the_connections_and_the_count(pair: list[AcceptorProcess]) -> None:
    first, second = pair
    taken = [Association(first.peer, "STORESCU", PROPOSALS) for _ in range(8)]
    with pytest.raises(PeerError, match="local limit exceeded"):
        Association(first.peer, "STORESCU", PROPOSALS)
    while len({path.parts[-3] for path in first.objects()}) < 2:  # the system deals them out at random
        assert {store(association, 1) for association in taken} == {0}
        for association in taken:
            association.release()
        taken = [found for found in (wait_until(lambda: opens(first), "a place") for _ in range(8)) if found]
    assert Counter(path.name for path in first.objects())["000.dcm"] == 2

    second.kill()
    for association in taken:
        association.abort()
    again = [wait_until(lambda: opens(first), "the places of the dead one") for _ in range(8)]
    assert {store(association, 2) for association in again if association} == {0}


def test_a_frozen_one_is_replaced(tmp_path: Path) -> None:
    us = AcceptorProcess(tmp_path)
    configuration = tmp_path / "dicom-node.toml"
    configuration.write_text(
        f'[node]\nhost = "127.0.0.1"\nport = {us.port}\nunknown_peers = "accept"\nacceptors = 2\n'
        f"[web]\nport = {free_port()}\n"
    )
    command_line = [sys.executable, "-m", "dicom_node.cli.main", "--config", str(configuration), "serve"]
    serve = subprocess.Popen(command_line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        first = wait_until(lambda: len(found := acceptors(serve.pid)) == 2 and found, "both acceptors", seconds=60)
        wait_until(lambda: all(answers(us) for _ in range(3)), "associations")
        frozen = sorted(first)[0]
        os.kill(frozen, signal.SIGSTOP)
        wait_until(
            lambda: len(found := acceptors(serve.pid)) == 2 and frozen not in found, "the frozen one's end", seconds=60
        )
        wait_until(lambda: all(answers(us) for _ in range(8)), "associations")
        assert len(acceptors(serve.pid) - first) == 1
    finally:
        end(serve, seconds=60)


def acceptors(pid: int) -> set[int]:
    """Process ids of the acceptors under a supervisor."""
    found = set()
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # also of a zombie, which is gone
            if "run-acceptor" in child.cmdline():
                found.add(child.pid)
    return found


def answers(acceptor: AcceptorProcess) -> bool:
    try:
        return echo(acceptor.peer, "ANYBODY", 5) > 0
    except PeerError:
        return False
