"""How fast objects are sent: our sender beside DCMTK's storescu and stock pynetdicom, to the same receiver.

The receiver is DCMTK's storescp, which takes the objects and keeps none, so that the sender is what is measured.
A rate is that of all objects but the first, less the time that one object takes: starting a program and opening an
association are left out for all three alike.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
from peers import ENVIRONMENT, end, free_port, program, wait_until
from pynetdicom import AE

from benchmarks.studies import chest_ct, size_mb, small, write_copies
from benchmarks.table import Row, median, report, version_of
from dicom_node.dimse.send import Sender
from dicom_node.domain.sending import OutgoingObject
from dicom_node.settings import PeerSettings

ROUNDS = 3
TRIES = 3
OURS, STORESCU, PYNETDICOM = "dicom-node", "DCMTK storescu", "stock pynetdicom"
GOALS = {STORESCU: 0.8, PYNETDICOM: 4.0}  # ours divided by the peer's


@dataclass(frozen=True)
class Load:
    """What is sent."""

    name: str
    small: bool
    count: int


LOADS = (Load("CT 512 x 512", small=False, count=120), Load("small 96 x 96", small=True, count=300))
Send = Callable[[list[Path], int], None]


def main() -> int:
    """Every load by every sender in turn, round after round; medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, what = chest_ct(folder / "phantom")
        little = [small(image) for image in images]
        sizes: dict[str, float] = {}
        with _storescp(folder / "storescp") as port:
            took = _rounds(port, images, little, folder, sizes)
    rows = []
    for load in LOADS:
        ours = median(took[load.name, OURS])
        for peer, goal in GOALS.items():
            theirs = median(took[load.name, peer])
            rows.append(Row(load.name, "objects/s", ours, theirs, peer, goal=goal * theirs, better="more"))
            unit_mb = sizes[load.name] / load.count
            rows.append(Row(load.name, "MB/s", ours * unit_mb, theirs * unit_mb, peer, better="more"))
    versions = {"dcmtk": version_of(program("storescu"), "--version")}
    notes = [
        f"{what}, copies under new UIDs; one association; median of {ROUNDS} rounds",
        "ours knows SOP class and transfer syntax from the ledger, as the courier does; the others read them",
        "receiver: storescp --ignore; TCP_NODELAY for receiver and storescu; pynetdicom as it comes, given paths",
    ]
    return report("send", rows, versions, notes=notes)


def _rounds(
    port: int, images: list[Any], little: list[Any], folder: Path, sizes: dict[str, float]
) -> Mapping[tuple[str, str], list[float]]:
    """Objects per second of each round, by load and sender."""
    senders: dict[str, Send] = {OURS: _ours, STORESCU: _storescu, PYNETDICOM: _pynetdicom}
    took: dict[tuple[str, str], list[float]] = {}
    for load in LOADS:
        source = folder / load.name
        write_copies(little if load.small else images, load.count, source)
        sizes[load.name] = size_mb(source)
        files = sorted(source.iterdir())
        for number in range(ROUNDS + 1):
            for name, send in senders.items():
                one, all_of_them = _timed(send, files[:1], port), _timed(send, files, port)
                if number:  # the first round warms caches
                    took.setdefault((load.name, name), []).append((load.count - 1) / (all_of_them - one))
    return took


def _timed(send: Send, files: list[Path], port: int) -> float:
    """Seconds that it takes; on a busy machine pynetdicom now and then loses an answer, and is asked again."""
    for _ in range(TRIES):
        start = time.perf_counter()
        try:
            send(files, port)
        except ConnectionError:
            continue
        return time.perf_counter() - start
    raise ConnectionError(f"not through after {TRIES} tries")


def _ours(files: list[Path], port: int) -> None:
    peer = PeerSettings(name="storescp", ae_title="ANY-SCP", host="127.0.0.1", port=port)
    for outcome in Sender().outcomes(peer, "BENCH", [_outgoing(file) for file in files]):
        assert outcome.ok, outcome


@cache
def _outgoing(file: Path) -> OutgoingObject:
    """Read once: the courier has it from the ledger."""
    meta = pydicom.filereader.read_file_meta_info(file)
    return OutgoingObject(file, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)


def _storescu(files: list[Path], port: int) -> None:
    command = [program("storescu"), "--call", "ANY-SCP", "127.0.0.1", str(port), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=ENVIRONMENT)


def _pynetdicom(files: list[Path], port: int) -> None:
    meta = pydicom.filereader.read_file_meta_info(files[0])
    entity = AE("BENCH")
    entity.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="ANY-SCP")
    assert association.is_established
    for file in files:
        if association.send_c_store(file).get("Status") != 0:
            association.abort()
            raise ConnectionError("pynetdicom got no answer")
    association.release()


@contextmanager
def _storescp(folder: Path) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    command = [program("storescp"), "--ignore", "--output-directory", str(folder), str(port)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    echo = [program("echoscu"), "127.0.0.1", str(port)]
    wait_until(lambda: subprocess.run(echo, capture_output=True, check=False).returncode == 0, "storescp to start")
    try:
        yield port
    finally:
        end(process)


if __name__ == "__main__":
    sys.exit(main())
