"""DICOMweb over the archive, beside Orthanc's plug-in: metadata, objects and frames of the same 300 slices."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
from peers import Orthanc, free_port, wait_until
from web_archive import take_in

from benchmarks.table import Row, median, report, version_of
from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.migrate import migrate
from dicom_node.archive.parcels import Parcels
from dicom_node.demo import phantom
from dicom_node.settings import NodeSettings, Settings, WebSettings
from dicom_node.web.app import serve_web

SLICES, SIDE = 300, 512
REPEATS = 5
FRAMES_READ = 100
CLIENTS = 4
METADATA_MS, FRAMES_A_SECOND = 150.0, 200.0
FRAMES = "multipart/related; type=application/octet-stream; transfer-syntax=*"
WHOLE = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def main() -> int:
    """Serve the same series from both, and ask both in turn."""
    with tempfile.TemporaryDirectory(prefix="dicomweb-") as name:
        folder = Path(name)
        files = _series(folder / "files")
        database = Database("sqlite", folder / "node")
        migrate(database)
        take_in(database, folder / "node", files)
        database.close()
        orthanc = Orthanc(folder / "orthanc")
        theirs = orthanc.serve_dicomweb()
        orthanc.start()
        try:
            for file in files:
                orthanc.request("POST", "/instances", file.read_bytes())
            with _serving(folder / "node") as ours:
                rows = _compared(ours, theirs)
        finally:
            orthanc.stop()
    notes = [
        f"one series of {SLICES} slices of {SIDE} x {SIDE}, uncompressed; both servers in processes of their own, on "
        "loopback; medians",
        f"frames: one a request, {CLIENTS} clients that keep their connections",
    ]
    return report("dicomweb", rows, {"orthanc": version_of("Orthanc", "--version")}, notes=notes)


def _compared(ours: str, theirs: str) -> list[Row]:
    study, series, instances = _names(ours)
    place = f"/studies/{study}/series/{series}"
    both = [[_milliseconds(f"{base}{place}/metadata") for _ in range(REPEATS)] for base in (ours, theirs)]
    rates = [[_frames(base, place, instances) for _ in range(3)] for base in (ours, theirs)]
    alone = [[_frames(base, place, instances, clients=1) for _ in range(3)] for base in (ours, theirs)]
    sizes = [[_megabytes(f"{base}{place}") for _ in range(3)] for base in (ours, theirs)]
    search = [[_milliseconds(f"{base}/studies?limit=101&offset=0") for _ in range(REPEATS)] for base in (ours, theirs)]
    peer = "Orthanc's plug-in"
    return [
        Row("metadata of the series", "ms", median(both[0]), median(both[1]), peer, goal=METADATA_MS),
        Row("frames", "/s", median(rates[0]), median(rates[1]), peer, goal=FRAMES_A_SECOND, better="more"),
        Row("frames, one client", "/s", median(alone[0]), median(alone[1]), peer, better="more"),
        Row("the series as objects", "MB/s", median(sizes[0]), median(sizes[1]), peer, better="more"),
        Row("search for studies", "ms", median(search[0]), median(search[1]), peer),
    ]


def _names(base: str) -> tuple[str, str, list[str]]:
    found = httpx.get(f"{base}/instances", timeout=60).json()
    one = found[0]
    return one["0020000D"]["Value"][0], one["0020000E"]["Value"][0], [each["00080018"]["Value"][0] for each in found]


def _milliseconds(address: str) -> float:
    with httpx.Client(timeout=300) as client:
        started = time.perf_counter()
        answer = client.get(address, headers={"Accept": "application/dicom+json"})
        took = time.perf_counter() - started
    assert answer.status_code == 200, answer.text
    return 1000 * took


def _frames(base: str, place: str, instances: Sequence[str], clients: int = CLIENTS) -> float:
    own = threading.local()

    def one(instance: str) -> int:
        if not hasattr(own, "client"):
            own.client = httpx.Client(timeout=60)
        answer = own.client.get(f"{base}{place}/instances/{instance}/frames/1", headers={"Accept": FRAMES})
        assert answer.status_code == 200, answer.text
        return len(answer.content)

    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        sizes = list(pool.map(one, instances[:FRAMES_READ]))
        took = time.perf_counter() - started
    assert min(sizes) > SIDE * SIDE * 2
    return len(sizes) / took


def _megabytes(address: str) -> float:
    with httpx.Client(timeout=300) as client:
        started = time.perf_counter()
        answer = client.get(address, headers={"Accept": WHOLE})
        took = time.perf_counter() - started
    assert answer.status_code == 200, answer.text
    return len(answer.content) / 1e6 / took


def _series(folder: Path) -> list[Path]:
    short = phantom.compute((10, SIDE, SIDE))
    hu = np.concatenate([short.hu] * (SLICES // 10))
    grid = phantom.grid_of("supine-head-first", (SLICES, SIDE, SIDE), (1.0, 0.7, 0.7))
    return phantom.write(replace(short, hu=hu, grid=grid), folder)


@contextmanager
def _serving(data_dir: Path) -> Iterator[str]:
    spawn, port = multiprocessing.get_context("spawn"), free_port()
    stop = spawn.Event()
    process = spawn.Process(target=_serve, args=(data_dir, port, stop))
    process.start()

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, "the server")
        yield f"http://127.0.0.1:{port}/dicom-web"
    finally:
        stop.set()
        process.join(20)


def _serve(data_dir: Path, port: int, stop: threading.Event) -> None:
    database = Database("sqlite", data_dir)
    settings = Settings(node=NodeSettings(data_dir=data_dir), web=WebSettings(port=port))
    serve_web(settings, database, Ledger(database), Parcels(database), dict, stop)


if __name__ == "__main__":
    sys.exit(main())
