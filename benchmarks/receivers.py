"""Receivers beside each other: our node and acceptor, Orthanc, DCMTK's storescp, pynetdicom's; and a sender."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from peers import ENVIRONMENT, Orthanc, echoscu, end, free_port, program, wait_until

from benchmarks.processes import DICOM_NODE, family

OURS, ALONE, VOLATILE = "dicom-node", "its acceptor alone", "its acceptor, not durable"
ORTHANC, STORESCP, FORKING, PYNETDICOM = "Orthanc", "storescp +B", "storescp +B --fork", "pynetdicom storescp"
TWO = "dicom-node, two acceptors"
BARE = "a bare receiver"
STOCK = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}

_CONFIGURATION = """\
[node]
ae_title = "BENCHNODE"
host = "127.0.0.1"
port = {port}
data_dir = "{data}"
unknown_peers = "accept"
maximum_associations = 250
least_free_bytes = 0
[web]
port = {web_port}
[broker]
url = "redis://127.0.0.1:9/0"
"""

# The acceptor as it is but for fsync, which returns at once.
_WITHOUT_SYNC = """
import pathlib, signal, sys, threading
from dicom_node.archive import files
from dicom_node.reception.acceptor import run_acceptor
from dicom_node.settings import load

files.sync = files.sync_folder = lambda what: None
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
run_acceptor(load(pathlib.Path(sys.argv[1])).settings, "a0", stop)
"""


@dataclass(frozen=True)
class Receiver:
    """Processes that listen on one port."""

    name: str
    port: int
    processes: tuple[subprocess.Popen[bytes], ...]

    def user_seconds(self) -> float:
        """User CPU time of its processes and all below them so far, those that have ended included."""
        while True:
            pids = [pid for process in self.processes for pid in family(process.pid)]
            try:
                times = [psutil.Process(pid).cpu_times() for pid in pids]
            except psutil.NoSuchProcess:  # it has ended: its parent has its time
                continue
            return sum(taken.user + taken.children_user for taken in times)

    def stop(self) -> None:
        """End it."""
        for process in self.processes:
            end(process)


def ours(folder: Path, name: str) -> Receiver:
    """The node without workers: acceptor or two, and indexing; or the acceptor alone, durable or not."""
    folder.mkdir()
    port, file = free_port(), folder / "dicom-node.toml"
    file.write_text(_CONFIGURATION.format(port=port, data=folder / "data", web_port=free_port()))
    accept = [*DICOM_NODE, "--config", str(file), "run-acceptor"]
    if name == VOLATILE:
        accept = [sys.executable, "-c", _WITHOUT_SYNC, str(file)]
    commands = [accept]
    if name == TWO:
        file.write_text(file.read_text().replace("[node]\n", "[node]\nacceptors = 2\n"))
        commands.append([*accept, "--name", "a1"])
    if name in (OURS, TWO):
        commands.append([*DICOM_NODE, "--config", str(file), "run-node"])
    started = [start(command, folder) for command in commands]
    return _listening(Receiver(name, port, tuple(started)))


def orthanc(folder: Path) -> Receiver:
    """Orthanc as it comes, without plugins; it would wait 40 ms a message without TCP_NODELAY."""
    server = Orthanc(folder)
    server.start()
    assert server.process is not None
    return Receiver(ORTHANC, server.dicom_port, (server.process,))


def storescp(folder: Path, name: str) -> Receiver:
    """DCMTK's receiver, bit preserving; it syncs nothing."""
    folder.mkdir()
    port = free_port()
    options = ["--fork"] if name == FORKING else []
    command = [program("storescp"), "--bit-preserving", *options, "--output-directory", str(folder), str(port)]
    return _listening(Receiver(name, port, (start(command, folder),)))


def pynetdicom(folder: Path) -> Receiver:
    """pynetdicom's own storescp, as it comes; it syncs nothing."""
    folder.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-od", str(folder), "-q"]
    return _listening(Receiver(PYNETDICOM, port, (start(command, folder),)))


def send(source: Path, port: int, environment: Mapping[str, str] = ENVIRONMENT, associations: int = 1) -> float:
    """Seconds to send the files of a folder with DCMTK's storescu, its start included."""
    files = sorted(map(str, source.iterdir()))
    command = [program("storescu"), "--aetitle", "BENCH", "--call", "BENCHNODE", "127.0.0.1", str(port)]
    began = time.perf_counter()
    sending = [
        subprocess.Popen([*command, *files[n::associations]], env=dict(environment), stderr=subprocess.PIPE)
        for n in range(associations)
    ]
    for process in sending:
        _, said = process.communicate(timeout=600)
        if process.returncode:
            raise RuntimeError(f"storescu to port {port} failed: {said[-500:].decode(errors='replace')}")
    return time.perf_counter() - began


def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """A process that says what it says into the log beside its folder."""
    root = Path(__file__).parents[1]
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _listening(receiver: Receiver) -> Receiver:
    wait_until(
        lambda: echoscu(receiver.port, called="BENCHNODE").returncode == 0, f"{receiver.name} to listen", seconds=60
    )
    return receiver
