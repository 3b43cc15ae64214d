"""Who listens in the tests: a node whose objects stay in memory, the acceptor as a process, DCMTK's receiver."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from peers import ENVIRONMENT, free_port, program, run_peer, wait_until

from dicom_node.archive.files import ObjectStore
from dicom_node.dimse.acceptor import Acceptor
from dicom_node.dimse.associate import echo
from dicom_node.dimse.inbound import InboundAssociation, InboundObject
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings

_RUN = """
import logging, pathlib, signal, sys, threading
from dicom_node.reception.acceptor import run_acceptor
from dicom_node.settings import load

if len(sys.argv) > 3:
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
logging.basicConfig(level=logging.INFO)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
run_acceptor(load(pathlib.Path(sys.argv[1])).settings, sys.argv[2], stop)
"""

_SETTINGS = """
[node]
host = "127.0.0.1"
port = {port}
data_dir = "{data_dir}"
commit = "{commit}"

[[peers]]
name = "scanner"
ae_title = "STORESCU"
host = "127.0.0.1"
port = 104
"""


@dataclass
class Memory:
    """A store service that keeps objects in memory."""

    objects: list[tuple[InboundObject, bytes]] = field(default_factory=list)
    ended: list[tuple[InboundAssociation, int, bool]] = field(default_factory=list)
    begun: int = 0
    discarded: int = 0
    before_commit: Callable[[], None] = lambda: None
    why_full: str = ""

    def full(self) -> str:
        return self.why_full

    def begin(self, inbound: InboundObject) -> Sink:
        self.begun += 1
        return Sink(self, inbound)

    def association_ended(self, association: InboundAssociation, objects: int, *, aborted: bool) -> None:
        self.ended.append((association, objects, aborted))


@dataclass
class Sink:
    """Keeps one object."""

    memory: Memory
    inbound: InboundObject
    data: bytearray = field(default_factory=bytearray)

    def write(self, views: Sequence[memoryview | bytes]) -> None:
        self.data += b"".join(views)

    def commit(self) -> None:
        self.memory.before_commit()
        self.memory.objects.append((self.inbound, bytes(self.data)))

    def discard(self) -> None:
        self.memory.discarded += 1


@dataclass
class Node:
    """An acceptor and what it has received."""

    acceptor: Acceptor
    memory: Memory
    peer: PeerSettings  # itself, as a sender sees it


@dataclass
class AcceptorProcess:
    """A running acceptor; started again it has the same port and data directory."""

    folder: Path
    largest_file: int | None = None  # bytes; beyond it writing fails, as on a full disk
    more: str = ""  # TOML for the end of its configuration
    environment: dict[str, str] = field(default_factory=dict)
    data_dir: Path | None = None  # "data" in its folder
    name: str = "a0"
    commit: str = "auto"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def peer(self) -> PeerSettings:
        """The acceptor, as a sender sees it."""
        return PeerSettings(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=self.port)

    @property
    def store(self) -> ObjectStore:
        """Its files, as the indexer sees them."""
        return ObjectStore(self.data_dir or self.folder / "data")

    def objects(self) -> list[Path]:
        """Complete objects in the order they were begun."""
        return [path for segment in self.store.unsealed() for path in segment.objects()]

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "dicom-node.toml"
        file.write_text(
            _SETTINGS.format(port=self.port, data_dir=self.data_dir or "data", commit=self.commit) + self.more
        )
        arguments: Sequence[str] = [] if self.largest_file is None else [str(self.largest_file)]
        with (self.folder / "acceptor.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _RUN, str(file), self.name, *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        wait_until(self._answers, f"the acceptor to start, see {self.folder / 'acceptor.log'}")

    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "acceptor.log").read_text()

    def kill(self) -> None:
        """End it as a power failure would, as far as the process is concerned."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            pytest.fail(f"the acceptor ended at start: {self.log()[-2000:]}")
        try:
            return echo(self.peer, "STORESCU") > 0
        except PeerError:
            return False


@dataclass
class StoreSCP:
    """DCMTK's receiver, storing bit for bit; ``options`` are its own."""

    folder: Path
    options: Sequence[str] = ("--bit-preserving",)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def peer(self) -> PeerSettings:
        """The receiver, as our sender knows it."""
        return PeerSettings(name="storescp", ae_title="ANY-SCP", host="127.0.0.1", port=self.port)

    def files(self) -> list[Path]:
        """What it has stored."""
        return sorted(path for path in self.folder.iterdir() if path.is_file())

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        arguments = [*self.options, "--output-directory", str(self.folder), str(self.port)]
        self.process = subprocess.Popen([program("storescp"), *arguments], env=ENVIRONMENT)
        wait_until(lambda: run_peer("echoscu", "127.0.0.1", self.port).returncode == 0, "storescp to start")


def association_profile(takes: dict[str, list[str]]) -> str:
    """DCMTK's description of what a receiver takes: its asconfig.txt."""
    syntaxes, contexts = [], []
    for number, (sop_class, listed) in enumerate(
        {"1.2.840.10008.1.1": ["1.2.840.10008.1.2"], **takes}.items(), start=1
    ):
        lines = [f"TransferSyntax{at} = {uid}" for at, uid in enumerate(listed, start=1)]
        syntaxes.append("\n".join([f"[Syntaxes{number}]", *lines]))
        contexts.append(f"PresentationContext{number} = {sop_class}\\Syntaxes{number}")
    return "\n".join(
        [
            "[[TransferSyntaxes]]",
            *syntaxes,
            "[[PresentationContexts]]",
            "[Contexts]",
            *contexts,
            "[[Profiles]]",
            "[Results]",
            "PresentationContexts = Contexts",
            "",
        ]
    )
