"""How fast images are received: our node, durable, beside Orthanc and DCMTK's storescp, from the same sender.

The sender is DCMTK's storescu over one association. As it comes, without TCP_NODELAY in its environment, Nagle's
algorithm makes it wait for TCP's answers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import ENVIRONMENT, Orthanc, end, free_port, program, wait_until

from benchmarks.processes import NodeProcesses
from benchmarks.studies import chest_ct, size_mb, small, write_copies
from benchmarks.table import Row, median, report, version_of

ROUNDS = 3
OURS, ORTHANC, STORESCP = "dicom-node", "Orthanc", "DCMTK storescp"
STOCK = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}


@dataclass(frozen=True)
class Load:
    """What is sent, and how."""

    name: str
    small: bool
    count: int
    environment: Mapping[str, str]


LOADS = (
    Load("CT 512 x 512", small=False, count=120, environment=ENVIRONMENT),
    Load("small 96 x 96", small=True, count=400, environment=ENVIRONMENT),
    Load("CT, sender as it comes", small=False, count=40, environment=STOCK),
    Load("small, sender as it comes", small=True, count=60, environment=STOCK),
)


def main() -> int:
    """Every load to every receiver in turn, round after round; medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, what = chest_ct(folder / "phantom")
        little = [small(image) for image in images]
        orthanc = Orthanc(folder / "orthanc")
        storescp, port = _storescp(folder / "storescp")
        orthanc.start()
        try:
            with NodeProcesses(folder / "node", "serve", orthanc.dicom_port) as node:
                ports = {OURS: node.dicom_port, ORTHANC: orthanc.dicom_port, STORESCP: port}
                took = _rounds(ports, images, little, folder)
        finally:
            orthanc.stop()
            end(storescp)
    rows = []
    for load in LOADS:
        for peer in (ORTHANC, STORESCP):
            for unit, at in (("objects/s", 0), ("MB/s", 1)):
                ours = median([rate[at] for rate in took[load.name, OURS]])
                theirs = median([rate[at] for rate in took[load.name, peer]])
                rows.append(Row(load.name, unit, ours, theirs, peer, better="more"))
    versions = {
        "orthanc": version_of(program("Orthanc"), "--version"),
        "dcmtk": version_of(program("storescu"), "--version"),
    }
    notes = [
        f"{what}, copies under new UIDs; one association; median of {ROUNDS} rounds; with the sender's start",
        "ours: durable before the answer, the node indexing meanwhile; Orthanc: as it comes, without plugins, but "
        "with TCP_NODELAY; storescp: as it comes, but with TCP_NODELAY, neither durable nor indexing",
    ]
    return report("receive", rows, versions, notes=notes)


def _rounds(
    ports: Mapping[str, int], images: list[Any], little: list[Any], folder: Path
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(objects/s, MB/s) of each round, by load and receiver."""
    took: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(ROUNDS):
        for load in LOADS:
            for receiver, port in ports.items():
                source = folder / f"{number} {load.name} {receiver}"
                write_copies(little if load.small else images, load.count, source)
                seconds = _send(source, port, load.environment)
                rates = load.count / seconds, size_mb(source) / seconds
                took.setdefault((load.name, receiver), []).append(rates)
                time.sleep(1)  # the receiver's own work that follows must not fall into the next one's time
    return took


def _send(source: Path, port: int, environment: Mapping[str, str]) -> float:
    command = [program("storescu"), "--call", "BENCHNODE", "--scan-directories", "127.0.0.1", str(port), str(source)]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=dict(environment))
    return time.perf_counter() - start


def _storescp(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    folder.mkdir()
    port = free_port()
    command = [program("storescp"), "--output-directory", str(folder), str(port)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    echo = [program("echoscu"), "127.0.0.1", str(port)]
    wait_until(lambda: subprocess.run(echo, capture_output=True, check=False).returncode == 0, "storescp to start")
    return process, port


if __name__ == "__main__":
    sys.exit(main())
