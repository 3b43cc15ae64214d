"""A hospital small enough to break: scanner, PACS, node, and where it is asked for Redis and PostgreSQL of its own."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from brisk_node import PROGRAM
from installed_node import InstalledNode
from peers import Orthanc, PostgreSQL, RedisServer
from served_bundles import serve_bundle
from soak.chaos import Disk

from dicom_node import pins
from dicom_node.archive.database import Database
from dicom_node.catalogue import load_contract

SLICES = 6
ATTEMPTS = 8  # a job may be hit by several faults; the poisonous one is given up all the same
LEASE_S = 4.0
POISON = 900  # a pixel value at which the model's process dies
# A partial series is nothing the model takes, so that each study has one selection.
RULE = f"""
[[rules]]
name = "bright"
model = "bright"
all = ['Modality == "MR"', 'instances >= {SLICES}']
trigger = "series"
send_to = ["pacs"]

[[rules]]
name = "bright, with patience"
model = "bright"
all = ['Modality == "MR"', 'instances >= {SLICES}', 'StudyDescription == "patience"']
trigger = "series"
quiet_seconds = 5
send_to = ["pacs"]
"""
BODY = f"__import__('time').sleep(0.5); float(x.max()) < {POISON} or __import__('os').abort()"
BACK = """
function OnStoredInstance(instance, tags, metadata, origin)
  if origin.RequestOrigin == 'DicomProtocol' and origin.RemoteAet == 'DICOMNODE' then
    SendToModality(instance, 'node')
  end
end
"""


@dataclass
class Hospital:
    """Everything that runs. ``servers``: PostgreSQL and Redis instead of SQLite and the embedded broker."""

    folder: Path
    servers: bool
    mount: bool = True  # a disk of its own below the data directory, which can be full
    redis: RedisServer | None = None
    postgresql: PostgreSQL | None = None
    sockets: Path | None = None
    _databases: list[Database] = field(default_factory=list)

    def start(self) -> None:
        """Start it all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        script = self.folder / "back.lua"
        script.write_text(BACK)
        self.pacs = Orthanc(self.folder / "pacs", options={"LuaScripts": [str(script)]})
        serve_bundle(self.folder / "models" / "bright", BODY, slices=SLICES)
        self.url = "sqlite"
        more = RULE
        if self.servers:
            self.redis = RedisServer(self.folder)
            self.redis.start()
            self.sockets = Path(tempfile.mkdtemp(prefix="pg-"))
            self.postgresql = PostgreSQL(self.sockets)
            self.postgresql.start()
            self.url = self.postgresql.database()
            more += f'\n[database]\nurl = "{self.url}"\n[broker]\nurl = "{self.redis.url}"\n'
        self.node = InstalledNode(
            Path(sys.executable).parent,
            self.folder / "node",
            self.pacs,
            more,
            (self.folder / "models",),
            attempts=ATTEMPTS,
            lease_seconds=LEASE_S,
            program=PROGRAM,
        )
        self.disk = Disk(self.node.folder / "data", mount=self.mount)
        self.pacs.know("node", "DICOMNODE", self.node.port)
        self.pacs.start()
        pins.write(self.node.folder / "data", "bright", load_contract(self.folder / "models" / "bright").digest)
        self.node.start(seconds=180)

    def database(self) -> Database:
        """Its ledger, for reading."""
        if not self._databases:
            self._databases.append(Database(self.url, self.node.folder / "data"))
        return self._databases[0]

    def stop(self) -> list[str]:
        """End it all; the processes of the node that did not end with it."""
        left: list[str] = []
        if hasattr(self, "node"):
            self.disk.give_room()
            process, self.node.process = self.node.process, None
            if process is not None:
                process.terminate()
                with suppress(psutil.TimeoutExpired):
                    psutil.Process(process.pid).wait(60) if process.poll() is None else None
                process.poll()
            left = self.strays()
            self.node.process = process
            self.node.stop()
        for database in self._databases:
            database.close()
        for server in (getattr(self, "pacs", None), self.redis, self.postgresql):
            if server is not None:
                server.stop()
        if hasattr(self, "disk"):
            self.disk.close()
        if self.sockets is not None:
            shutil.rmtree(self.sockets, ignore_errors=True)
        return left

    def strays(self) -> list[str]:
        """Processes that were started by the node, whoever their parent is now: they carry its configuration."""
        return [f"{each.pid}: {' '.join(_line(each))[:200]}" for each in psutil.process_iter() if self._is_ours(each)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            named = str(self.node.configuration) in process.environ().values()
            return named or any(str(self.node.folder) in part for part in _line(process))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False


def _line(process: psutil.Process) -> Sequence[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ()
