"""The demonstration: a study goes from a stand-in PACS through a whole node and comes back with its results."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from dicom_node.archive.database import Database
from dicom_node.archive.overview import studies
from dicom_node.archive.places import Places
from dicom_node.archive.story import story
from dicom_node.demo import phantom
from dicom_node.demo.pacs import StandInPacs, dicom_files
from dicom_node.demo.picture import draw
from dicom_node.dimse.associate import echo
from dicom_node.errors import ConfigurationError, DicomNodeError, LedgerError, PeerError
from dicom_node.settings import PeerSettings

MARKER = ".dicom-node-demo"
QUIET_SECONDS = 10
START_WITHIN_S = 60.0
FINISH_WITHIN_S = 900.0
STOP_WITHIN_S = 40.0

CONFIGURATION = """\
# Written by the demonstration; everything stays on this machine.
[node]
ae_title = "DICOMNODE"
host = "127.0.0.1"
port = {node_port}
data_dir = "node"

[web]
port = {web_port}

[completion]
quiet_seconds = {quiet_seconds}

[[peers]]
name = "pacs"
ae_title = "DEMOPACS"
host = "127.0.0.1"
port = {pacs_port}

[[rules]]
name = "chest CT: lungs"
model = "ct_lung_density"
all = ['Modality == "CT"', 'instances >= 20']
trigger = "series"
send_to = ["pacs"]
"""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demonstration ends with."""

    story: dict[str, Any]  # of the study, as ``studies show --json`` gives it
    files: tuple[tuple[str, Path], ...]  # modality and path of SEG and SR, as the PACS has them
    picture: Path | None
    web: str  # address of the pages while the node runs
    configuration: Path
    synthetic: bool
    after_last_image_s: float  # last image received -> results in the PACS, less the quiet period


def run(folder: Path, study: Path | None, tell: Callable[[str], None]) -> DemoResult:
    """Run the demonstration in ``folder``; ``study`` is a folder of DICOM images, or None for the phantom.

    Raises:
        DicomNodeError: it did not come to its end; says where.
    """
    _prepare(folder)
    files = _images(folder, study, tell)
    ports = _free_ports(3)
    node = PeerSettings(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=ports[0])
    configuration = folder / "dicom-node.toml"
    configuration.write_text(
        CONFIGURATION.format(node_port=ports[0], web_port=ports[1], pacs_port=ports[2], quiet_seconds=QUIET_SECONDS)
    )
    with StandInPacs(folder / "pacs", ports[2]) as pacs:
        tell("starting broker, acceptor, node and worker …")
        process = _start(configuration)
        try:
            _wait_for_node(process, node)
            tell(f"sending {len(files)} images from the stand-in PACS to {node.ae_title} on port {node.port} …")
            pacs.send(files, node)
            told = _follow(process, Database("sqlite", (folder / "node").resolve()), tell)
        finally:
            _stop(process)
        found = [(str(header.Modality), path) for path, header in pacs.received()]
    results = tuple((modality, path) for modality, path in found if modality in ("SEG", "SR"))
    return DemoResult(
        story=told,
        files=results,
        picture=_draw(folder, files, results, told, synthetic=study is None),
        web=f"http://127.0.0.1:{ports[1]}",
        configuration=configuration,
        synthetic=study is None,
        after_last_image_s=_after_last_image(told),
    )


def _prepare(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise ConfigurationError(
            f"{folder} holds something that no demonstration wrote", remedy="name an empty folder with --folder"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def _images(folder: Path, study: Path | None, tell: Callable[[str], None]) -> list[Path]:
    if study is not None:
        files = dicom_files(study)
        tell(f"{len(files)} DICOM files in {study}")
        return files
    tell("computing a chest CT: a SYNTHETIC phantom, no patient …")
    return phantom.write(phantom.compute(), folder / "study")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _start(configuration: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dicom_node.cli.main", "--config", str(configuration), "up"]
    with (configuration.parent / "node.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def _wait_for_node(process: subprocess.Popen[bytes], node: PeerSettings) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        _check_alive(process)
        try:
            echo(node, "DEMOPACS", timeout_s=2)
            return
        except PeerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _check_alive(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise DicomNodeError(
            f"the node ended with exit status {process.returncode}", reason="node-ended", remedy="see node.log"
        )


def _follow(process: subprocess.Popen[bytes], database: Database, tell: Callable[[str], None]) -> dict[str, Any]:
    """Tell how the study stands until it is through; its story."""
    deadline = time.monotonic() + FINISH_WITHIN_S
    last = ""
    try:
        while time.monotonic() < deadline:
            _check_alive(process)
            told = _current_story(database)
            words = _words(told)
            if words != last:
                tell(words)
                last = words
            if told and _over(told):
                return told
            time.sleep(0.2)
    finally:
        database.close()
    raise DicomNodeError(f"no result after {FINISH_WITHIN_S:.0f} s: {last}", reason="too-late", remedy="see node.log")


def _words(told: dict[str, Any] | None) -> str:
    if told is None:
        return "on its way"
    if told["state"] == "open" and told["standing"] == "unwanted":
        return "images are still arriving"  # of the first few, no rule can want anything yet
    return str(told["standing_words"])


def _current_story(database: Database) -> dict[str, Any] | None:
    try:
        found, _ = studies(database, limit=1)
        return story(database, found[0]["id"]) if found else None
    except LedgerError:
        return None  # the node has not made its tables yet


def _over(told: dict[str, Any]) -> bool:
    """Whether nothing more will happen to the study by itself."""
    if any(job["state"] in ("failed", "quarantined") for job in told["jobs"]):
        return True
    if told["jobs"]:
        return all(job["state"] == "done" for job in told["jobs"]) and all(
            parcel["state"] != "due" for parcel in told["parcels"]
        )
    return bool(told["decision"]) and "no rule wants it" in told["decision"] and told["state"] == "ready"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _draw(
    folder: Path, files: list[Path], results: tuple[tuple[str, Path], ...], told: dict[str, Any], *, synthetic: bool
) -> Path | None:
    segmentation = dict(results).get("SEG")
    if segmentation is None:
        return None
    chosen = {series["series_uid"] for job in told["jobs"] if job["state"] == "done" for series in job["inputs"]}
    images = [path for path in files if _series(path) in chosen]
    target = folder / "result.png"
    title = "SYNTHETIC phantom, no patient" if synthetic else "CT with the lungs outlined"
    draw(images, segmentation, target, title=title, subtitle="dicom-node, ct_lung_density: research, not verified")
    return target


def _series(path: Path) -> str:
    return str(pydicom.dcmread(path, specific_tags=["SeriesInstanceUID"], stop_before_pixels=True).SeriesInstanceUID)


def _after_last_image(told: dict[str, Any]) -> float:
    """Seconds from the last image to the last result in the PACS, less the quiet period; 0 without a result."""
    if not told["parcels"]:
        return 0.0
    took = sum(float(s["seconds"] or 0) for s in told["stages"] if s["stage"] in _AFTER or "delivery" in s["stage"])
    return max(0.0, took - QUIET_SECONDS)


_AFTER = ("completion and rules", "queue", "worker")


def log_of(folder: Path) -> Path:
    """Where the node of a demonstration wrote what it did."""
    return Places(folder.resolve()).data_dir / "node.log"
