"""A node in processes of its own for a benchmark, and what Linux tells of processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import echoscu, free_port

DICOM_NODE = [sys.executable, "-m", "dicom_node.cli.main"]
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 40.0

CONFIGURATION = """\
[node]
ae_title = "BENCHNODE"
host = "127.0.0.1"
port = {dicom_port}
data_dir = "node"
unknown_peers = "accept"
[web]
port = {web_port}
[completion]
quiet_seconds = {quiet_seconds}
[[peers]]
name = "pacs"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {pacs_port}
[[rules]]
name = "chest CT: lungs"
model = "ct_lung_density"
all = ['Modality == "CT"', 'instances >= 20']
send_to = ["pacs"]
"""


@dataclass
class NodeProcesses:
    """``dicom-node up`` or ``serve`` in a folder, as a context manager."""

    folder: Path
    command: str  # up or serve
    pacs_port: int = 104
    quiet_seconds: float = 2.0
    ae_title: str = "BENCHNODE"

    def __enter__(self) -> NodeProcesses:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.dicom_port, self.web_port = free_port(), free_port()
        self.config = self.folder / "dicom-node.toml"
        self.config.write_text(
            CONFIGURATION.format(
                dicom_port=self.dicom_port,
                web_port=self.web_port,
                pacs_port=self.pacs_port,
                quiet_seconds=self.quiet_seconds,
            )
        )
        with (self.folder / "node.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*DICOM_NODE, "--config", str(self.config), self.command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            )
        self._wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> bytes:
        """A page of the node."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}{path}", timeout=10) as response:
            return bytes(response.read())

    def tell(self, *arguments: str) -> Any:
        """What a command with ``--json`` says of this node; None when it has bad news."""
        command = [*DICOM_NODE, "--config", str(self.config), *arguments, "--json"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return json.loads(ran.stdout) if ran.returncode == 0 else None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise SystemExit(f"the node did not start:\n{(self.folder / 'node.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            self.get("/readyz")
        except OSError:
            return False
        return echoscu(self.dicom_port, called=self.ae_title).returncode == 0


def family(pid: int) -> Iterator[int]:
    """A process and all below it, from /proc."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def command_line(pid: int) -> str:
    """The command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


def pss_mb(pid: int) -> float:
    """Proportional set size: private memory, and a fair part of what is shared with others; 10^6 bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(f"/proc/{pid}/smaps_rollup tells no Pss")


def maps(pid: int, what: str) -> bool:
    """Whether a process has a file mapped whose path holds ``what``."""
    return what in Path(f"/proc/{pid}/maps").read_text()
