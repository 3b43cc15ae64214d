"""Acceptor and node as processes that a test may kill, and what Linux tells of a process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from peers import end, free_port, wait_until

from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.dimse.associate import echo
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings

CALLING = "STORESCU"
PARTS = ("acceptor", "node")
CHECKOUT = Path(__file__).parents[2]

CONFIGURATION = """\
[node]
host = "127.0.0.1"
port = {port}
data_dir = "data"
maximum_associations = {associations}
least_free_bytes = 0
unknown_peers = "accept"
[web]
port = {web_port}
[broker]
url = "redis://127.0.0.1:9/0"
"""


@dataclass
class Reception:
    """``run-acceptor`` and ``run-node`` of one data directory, without a supervisor, broker or workers."""

    folder: Path
    associations: int = 50
    port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.configuration = self.folder / "dicom-node.toml"
        self.web_port = free_port()
        text = CONFIGURATION.format(port=self.port, web_port=self.web_port, associations=self.associations)
        self.configuration.write_text(text)

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    @property
    def peer(self) -> PeerSettings:
        """The acceptor, as a sender sees it."""
        return PeerSettings(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=self.port)

    @property
    def store(self) -> ObjectStore:
        """Its files."""
        return ObjectStore(self.data)

    def database(self) -> Database:
        """Its ledger, for reading."""
        return Database("sqlite", self.data)

    def start(self, part: str, largest_file: int = 0) -> None:
        """Start a part; with ``largest_file`` writing beyond so many bytes fails, as on a full disk."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        command = [sys.executable, "-m", "dicom_node.cli.main", "--config", str(self.configuration), f"run-{part}"]
        with (self.folder / f"{part}.log").open("ab") as log:
            self.running[part] = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                preexec_fn=limit if largest_file else None,
            )

    def await_acceptor(self) -> None:
        """Wait until it answers."""
        wait_until(self._answers, f"the acceptor to answer, see {self.folder / 'acceptor.log'}", seconds=60)

    def await_node(self) -> None:
        """Wait until its pages are served."""
        wait_until(self._is_ready, f"the node to be ready, see {self.folder / 'node.log'}", seconds=60)

    def kill(self, part: str) -> None:
        """End a part by SIGKILL."""
        self.running[part].kill()
        self.running[part].wait()

    def stop(self) -> None:
        """End all in good order."""
        for process in self.running.values():
            end(process, seconds=40)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/healthz", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def _answers(self) -> bool:
        try:
            return echo(self.peer, CALLING) > 0
        except PeerError:
            return False


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds."""

    rss_mb: float  # 10^6 bytes
    pss_mb: float  # proportional set size: without what is shared with others
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """The footprint of a process now."""
        process = psutil.Process(pid)
        memory = process.memory_full_info()
        pss = getattr(memory, "pss", memory.uss)
        return cls(memory.rss / 1e6, pss / 1e6, process.num_threads(), process.num_fds())

    def __str__(self) -> str:
        return (
            f"RSS {self.rss_mb:.0f} MB, PSS {self.pss_mb:.0f} MB, {self.threads} threads, "
            f"{self.descriptors} descriptors"
        )
