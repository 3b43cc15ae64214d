"""Where everything stands in the data directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from dicom_node.domain.fitness import Abilities
from dicom_node.domain.job import Priority
from dicom_node.errors import ConfigurationError
from dicom_node.settings import Settings

PATIENCE_S = 10.0  # for a process that is about to end
_LONGEST_SOCKET_FOLDER = 80  # bytes; with a file name still below the 104 that macOS allows for a socket's path


@dataclass(frozen=True, slots=True)
class Places:
    """The folders and files of one data directory."""

    data_dir: Path  # absolute

    @property
    def objects(self) -> Path:
        """Received objects: ``<acceptor>/<segment>/<n>.dcm``, written once."""
        return self.data_dir / "objects"

    @property
    def results(self) -> Path:
        """Result objects, written once."""
        return self.data_dir / "results"

    @property
    def documents(self) -> Path:
        """What was received of patients' records and genomes, written once."""
        return self.data_dir / "documents"

    @property
    def ledger(self) -> Path:
        """The SQLite file, where that is the database."""
        return self.data_dir / "ledger.sqlite"

    @property
    def run(self) -> Path:
        """What lives only as long as the processes do."""
        return self.data_dir / "run"

    @property
    def logs(self) -> Path:
        """Log files."""
        return self.data_dir / "logs"

    @property
    def hints(self) -> Path:
        """The datagram socket on which the node hears that something has arrived."""
        return socket_folder(self.data_dir) / "hints.sock"

    @property
    def broker(self) -> Path:
        """The socket of the embedded broker."""
        return socket_folder(self.data_dir) / "broker.sock"

    @property
    def occupancy(self) -> Path:
        """Files by which several acceptors count associations together."""
        return self.run / "occupancy"

    def lock(self, name: str) -> Path:
        """Held by the one process of that name that works on this data directory."""
        return self.run / f"{name}.lock"


@contextmanager
def only_process(
    data_dir: Path, name: str, patience_s: float = PATIENCE_S, folder: Path | None = None
) -> Iterator[None]:
    """Be the only process of this name on a data directory.

    Two nodes would index every object twice, two acceptors of one name write into the same folder. One that is
    about to end is waited for. The system lets go of the lock when this process ends, however it ends.
    ``folder``: where the lock lies, when that is not ``run``; nodes on several machines may share it.

    Raises:
        ConfigurationError: another one holds it; says which process.
    """
    lock = Places(data_dir).lock(name)
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / lock.name
    with lock.open("a+") as file:
        deadline = time.monotonic() + patience_s
        while not _locked(file):
            if time.monotonic() > deadline:
                file.seek(0)
                raise ConfigurationError(
                    f"process {file.read().strip() or 'unknown'} is already the {name} of {data_dir}",
                    key="node.data_dir",
                    reason="data-dir-in-use",
                    remedy="stop it, or give this node a data directory of its own",
                )
            time.sleep(0.1)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def broker_url(settings: Settings) -> str:
    """Where Celery finds the broker."""
    if settings.broker.url == "embedded":
        return f"redis+socket://{Places(settings.node.data_dir).broker}?virtual_host=0"
    return settings.broker.url


def queue_name(priority: Priority, abilities: Abilities | None = None) -> str:
    """The Celery queue of a priority; workers read them in strict order.

    With ``abilities`` that of the jobs which not every worker may run: only workers with the same ones read it.
    """
    name = f"dicom-node.{priority.name.lower()}"
    return name if abilities is None else f"{name}.{abilities.queue}"


def socket_folder(data_dir: Path) -> Path:
    """A folder for unix sockets, mode 0700, whose path is short enough for them.

    It is ``run`` in the data directory, or, where that path is too long for a socket, a folder in the system's
    temporary one, named after the data directory.

    Raises:
        ConfigurationError: the folder belongs to somebody else.
    """
    folder = Places(data_dir.absolute()).run
    if len(os.fsencode(folder)) > _LONGEST_SOCKET_FOLDER:
        digest = hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"dicom-node-{digest}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.lstat().st_uid  # of a link itself: in a temporary folder it may be another user's
    if owner != os.getuid():
        raise ConfigurationError(
            f"the folder {folder} belongs to user {owner}, not to the one this process runs as ({os.getuid()})",
            remedy="run every process of the node as the same user, or remove that folder",
        )
    folder.chmod(0o700)
    return folder
