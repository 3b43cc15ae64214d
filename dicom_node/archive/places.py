"""Where everything stands in the data directory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dicom_node.domain.job import Priority
from dicom_node.errors import ConfigurationError
from dicom_node.settings import Settings

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


def broker_url(settings: Settings) -> str:
    """Where Celery finds the broker."""
    if settings.broker.url == "embedded":
        return f"redis+socket://{Places(settings.node.data_dir).broker}?virtual_host=0"
    return settings.broker.url


def queue_name(priority: Priority) -> str:
    """The Celery queue of a priority; workers read them in strict order."""
    return f"dicom-node.{priority.name.lower()}"


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
