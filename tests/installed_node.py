"""The installed ``dicom-node up`` as a user runs it: a configuration, a data directory, and its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from peers import Orthanc, echoscu, end, free_port, storescu, wait_until

Part = Literal["broker", "node", "acceptor", "worker", "pool child", "host"]
UNFINISHED = ("waiting", "queued", "running")

# What a process of the node has on its command line; the pool child is known by its parent, the worker.
_MARKS: dict[str, str] = {
    "broker": "unixsocket",
    "node": "run-node",
    "acceptor": "run-acceptor",
    "worker": "workers.app",
    "host": "workers.inference.host",
}
CONFIGURATION = """
[node]
host = "127.0.0.1"
port = {port}
data_dir = "data"
{of_node}

[web]
port = {web_port}

[completion]
quiet_seconds = 2
study_quiet_seconds = 3
gap_wait_seconds = 4

[delivery]
first_pause_seconds = 0.5
longest_pause_seconds = 2

[worker]
devices = ["cpu"]
maximum_attempts = {attempts}
lease_seconds = {lease_seconds}

[models]
folders = [{folders}]

[[peers]]
name = "scanner"
ae_title = "STORESCU"
host = "127.0.0.1"
port = 104

[[peers]]
name = "pacs"
ae_title = "{pacs_aet}"
host = "127.0.0.1"
port = {pacs_port}
{more}
"""


@dataclass
class InstalledNode:
    """A node of its own: ports, data directory and log are its alone; started again it has the same."""

    binaries: Path  # the folder of the installed commands
    folder: Path
    pacs: Orthanc
    rules: str  # [[rules]] of the configuration, as TOML; and whatever else belongs into it
    models: Sequence[Path] = ()
    of_node: str = ""  # further keys of [node]
    attempts: int = 3
    lease_seconds: float = 60
    port: int = field(default_factory=free_port)
    web_port: int = field(default_factory=free_port)
    program: Sequence[str | Path] = ()  # what is run instead of the installed dicom-node
    process: subprocess.Popen[bytes] | None = None
    _seen: dict[int, psutil.Process] = field(default_factory=dict)  # every process of it, to be ended for certain

    @property
    def configuration(self) -> Path:
        return self.folder / "dicom-node.toml"

    @property
    def log(self) -> Path:
        return self.folder / "node.log"

    def configure(self) -> None:
        """Write the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = CONFIGURATION.format(
            port=self.port,
            web_port=self.web_port,
            attempts=self.attempts,
            lease_seconds=self.lease_seconds,
            folders=", ".join(f'"{folder}"' for folder in self.models),
            pacs_aet=self.pacs.aet,
            pacs_port=self.pacs.dicom_port,
            more=self.rules,
            of_node=self.of_node,
        )
        self.configuration.write_text(text)

    def start(self, *, seconds: float = 60) -> None:
        """Start it and wait until it is ready and answers."""
        self.configure()
        program = self.program or (self.binaries / "dicom-node",)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*map(str, program), "--config", str(self.configuration), "up"],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self.ready, f"the node to be ready, see {self.log}:\n{self.log_tail()}", seconds=seconds)

    def ready(self) -> bool:
        """Whether its pages say so and it answers C-ECHO; fails when it has ended."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the node ended with status {self.process.returncode}:\n{self.log_tail()}")
        self.processes()
        try:
            told = self.api("/readyz")
        except OSError:
            return False
        return bool(told["ready"]) and echoscu(self.port, called="DICOMNODE", calling="STORESCU").returncode == 0

    def stop(self) -> int | None:
        """End it as Ctrl-C does; whatever is left after that is killed. Returns its exit status."""
        status = None
        if self.process is not None:
            self.processes()
            end(self.process, seconds=40)
            status, self.process = self.process.returncode, None
        for left in self._seen.values():
            if left.is_running():
                left.kill()
        self._seen.clear()
        return status

    def processes(self) -> dict[Part, psutil.Process]:
        """Its processes by what they do."""
        if self.process is None:
            return {}
        found: dict[Part, psutil.Process] = {}
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return {}
        for child in children:
            self._seen.setdefault(child.pid, child)
            try:
                part = part_of(child)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            if part is not None:
                found.setdefault(part, child)
        return found

    def kill(self, part: Part) -> int:
        """SIGKILL one of its processes; its id."""
        process = wait_until(lambda: self.processes().get(part), f"a process that is the {part}")
        process.kill()
        return int(process.pid)

    def kill_all(self) -> None:
        """SIGKILL every process at once, as a power cut does, and wait until they are gone."""
        assert self.process is not None
        self.processes()
        everything = [psutil.Process(self.process.pid), *self._seen.values()]
        for process in everything:
            if process.is_running():
                process.kill()
        self.process.wait(10)
        self.process = None
        psutil.wait_procs([process for process in everything if process.is_running()], timeout=10)
        self._seen.clear()

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor alone; its children are left to notice."""
        assert self.process is not None
        self.processes()
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def run(self, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the command with this configuration, without judging its exit status."""
        return dicom_node(self.binaries, "--config", self.configuration, *arguments, cwd=self.folder, seconds=seconds)

    def cli(self, *arguments: str) -> Any:
        """What a command says with ``--json``; it must end well."""
        ran = self.run(*arguments, "--json")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def api(self, path: str) -> Any:
        """What a page of the node says in JSON; an answer of 503 is told too."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}{path}", timeout=10) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return json.load(error)
            raise

    def story(self, study_uid: str) -> dict[str, Any] | None:
        """A study's story, from the pages; None while the study, or the node, is not there."""
        try:
            return dict(self.api(f"/api/v1/studies/{study_uid}"))
        except OSError:
            return None

    def send(self, *sources: Path, options: Sequence[str] = (), seconds: float = 300) -> None:
        """Send files, or all below folders, with DCMTK's storescu; every one must be taken."""
        sent = storescu(self.port, *sources, called="DICOMNODE", options=options, seconds=seconds)
        assert sent.returncode == 0, sent.stdout + sent.stderr + self.log_tail()

    def await_story(self, study_uid: str, standing: str, *, seconds: float = 120) -> dict[str, Any]:
        """A study's story, once it stands so and is settled."""

        def stands() -> dict[str, Any] | None:
            told = self.story(study_uid)
            return told if told and told["standing"] == standing and settled(told) else None

        try:
            return dict(wait_until(stands, f"study {study_uid} to be {standing}", seconds=seconds))
        except pytest.fail.Exception:
            sys.stdout.write(json.dumps(self.story(study_uid), indent=1) + "\n" + self.log_tail())
            raise

    def log_tail(self, characters: int = 6000) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


def settled(told: dict[str, Any]) -> bool:
    """Whether nothing of a study is under way: no image, no decision, no job, no parcel."""
    return (
        told["state"] != "open"
        and all(series["state"] != "open" for series in told["series"])
        and not told["decision"].count("waiting:")
        and all(job["state"] not in UNFINISHED for job in told["jobs"])
        and all(parcel["state"] != "due" for parcel in told["parcels"])
    )


def dicom_node(
    binaries: Path, *arguments: str | Path, cwd: Path, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run the installed command, without judging its exit status."""
    return subprocess.run(
        [str(binaries / "dicom-node"), *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def environment() -> dict[str, str]:
    """Ours, without what would lead the installed command back to the checkout or to other settings."""
    strange = ("PYTHON", "VIRTUAL_ENV", "DICOM_NODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(strange)}


def part_of(process: psutil.Process) -> Part | None:
    """What a process of a node does."""
    line = " ".join(process.cmdline())
    for part, mark in _MARKS.items():
        if mark in line:
            return part  # type: ignore[return-value]
    parent = process.parent()
    if "spawn_main" in line and parent is not None and _MARKS["worker"] in " ".join(parent.cmdline()):
        return "pool child"
    return None
