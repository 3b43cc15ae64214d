"""How fast images are received: our node, durable, beside Orthanc, DCMTK and pynetdicom, from the same sender.

The sender is DCMTK's storescu. As it comes, without TCP_NODELAY in its environment, Nagle's algorithm makes it wait
for TCP's answers. What it sends lies in memory, so that its files do not share the disk with those of the receivers.
``--rounds`` and ``--scale`` set how often and how much is sent.

What durability costs on this disk stands in rows of its own: a bare loop of create, write, rename and fsync, without
network or DICOM; and a bare receiver, which has the network, too. A durable receiver that answers each object, and is
written in Python, cannot be faster, nor use less of the processor.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import ENVIRONMENT, program

from benchmarks import bare, receivers
from benchmarks.processes import pss_mb
from benchmarks.receivers import (
    ALONE,
    BARE,
    FORKING,
    ORTHANC,
    OURS,
    PYNETDICOM,
    STOCK,
    STORESCP,
    TWO,
    VOLATILE,
    Receiver,
)
from benchmarks.studies import chest_ct, large, size_mb, small, write_copies
from benchmarks.table import Row, median, report, version_of
from dicom_node.dimse.associate import Association, Proposal
from dicom_node.dimse.command import C_ECHO_RQ
from dicom_node.dimse.contexts import VERIFICATION
from dicom_node.settings import PeerSettings

IDLE = 200  # associations
IDLE_SECONDS = 10.0
REST_SECONDS = 5.0
CALM = 4  # times half a second
ECHOES = 200
DISK, FLUSHED = "disk", 100  # objects that are written by the bare loop
IN_MEMORY = Path("/dev/shm")  # noqa: S108
_ECHO = Proposal(VERIFICATION, ("1.2.840.10008.1.2",))


@dataclass(frozen=True)
class Load:
    """What is sent, how, and to whom; with the least ratio to each rival that we want."""

    name: str
    small: bool
    count: int
    receivers: tuple[str, ...]
    goals: Mapping[str, float]
    environment: Mapping[str, str]
    associations: int = 1


LOADS = (
    Load(
        "CT, one association",
        False,
        200,
        (OURS, ALONE, BARE, ORTHANC, STORESCP, PYNETDICOM),
        {ORTHANC: 3.0, STORESCP: 0.7, PYNETDICOM: 3.0},
        ENVIRONMENT,
    ),
    Load("CT, durability off", False, 200, (VOLATILE, STORESCP), {STORESCP: 0.9}, ENVIRONMENT),
    Load("small", True, 600, (OURS, ALONE, BARE, ORTHANC, STORESCP), {ORTHANC: 2.0, STORESCP: 1.0}, ENVIRONMENT),
    Load("small, sender as it comes", True, 240, (OURS, ORTHANC, STORESCP), {ORTHANC: 40.0}, STOCK),
    Load(
        "CT, four associations",
        False,
        200,
        (OURS, TWO, BARE, ORTHANC, FORKING),
        {ORTHANC: 1.3, FORKING: 0.8},
        ENVIRONMENT,
        associations=4,
    ),
)


@dataclass
class Taken:
    """Figures of one load and receiver, a value a round."""

    rates: list[float]  # objects/s
    user: list[float]  # user CPU, s/GB, beyond what it takes at rest


class Disk:
    """How many objects a second can be made durable one after the other, by nothing but the system calls."""

    def __init__(self, folder: Path, sizes: Mapping[bool, int]) -> None:
        """``sizes``: whether an object is small -> its bytes."""
        self._folder = folder
        self._content = {is_small: os.urandom(size) for is_small, size in sizes.items()}
        self.rates: dict[bool, list[float]] = {is_small: [] for is_small in sizes}

    def measure(self) -> None:
        """One more round."""
        for is_small, content in self._content.items():
            folder = self._folder / f"{is_small} {len(self.rates[is_small])}"
            folder.mkdir(parents=True)
            began = time.perf_counter()
            for number in range(FLUSHED):
                part = f"{folder}/{number}.part"
                descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
                os.write(descriptor, content)
                os.rename(part, f"{folder}/{number}.dcm")  # noqa: PTH104  as the acceptor does
                os.fsync(descriptor)
                os.close(descriptor)
            self.rates[is_small].append(FLUSHED / (time.perf_counter() - began))


def main() -> int:
    """Every load to every receiver in turn, round after round; medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of objects")
    arguments = parser.parse_args()
    memory = IN_MEMORY if IN_MEMORY.is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="receive-") as name,
        tempfile.TemporaryDirectory(prefix="receive-", dir=memory) as sources,
    ):
        folder = Path(name)
        images, what = chest_ct(folder / "phantom")
        images = [large(image) for image in images]
        little = [small(image) for image in images]
        started = _start(folder)
        try:
            disk = Disk(folder / DISK, {False: len(images[0].PixelData), True: len(little[0].PixelData)})
            taken = _rounds(started, images, little, Path(sources), disk, arguments.rounds, arguments.scale)
            rows = [row for load in LOADS for row in _rate_rows(load, taken)]
            rows += _disk_rows(disk, taken)
            rows += _user_rows(taken, _digest_seconds(images))
            rows += _echo_rows(started, arguments.rounds)
            rows += _idle_rows(started[ALONE])
        finally:
            for receiver in started.values():
                receiver.stop()
    versions = {
        "orthanc": version_of(program("Orthanc"), "--version"),
        "dcmtk": version_of(program("storescu"), "--version"),
    }
    notes = [
        f"{what}, 512 x 512 ({len(images[0].PixelData) // 1000} KB), copies under new UIDs, "
        f"{arguments.scale:g} x {', '.join(f'{load.count}' for load in LOADS)} objects; "
        f"median of {arguments.rounds} alternating rounds; the sender's start is in it",
        "ours: durable before the answer, the node indexing meanwhile (alone: the acceptor without the node)",
        "Orthanc: as it comes, without plugins, with TCP_NODELAY; it syncs files, and indexes",
        "storescp and pynetdicom: neither durable nor indexing, with TCP_NODELAY where there is such a switch",
        "bare loop: create, write, rename and fsync in Python on the same disk in the same rounds, nothing else",
        "bare receiver: the same behind a socket, with an answer of a byte to each object; no DICOM, no sender's start",
    ]
    return report("receive", rows, versions, notes=notes)


def _start(folder: Path) -> dict[str, Receiver]:
    started = [receivers.ours(folder / name, name) for name in (OURS, TWO, ALONE, VOLATILE)]
    started.append(receivers.orthanc(folder / "orthanc"))
    started += [
        receivers.storescp(folder / f"storescp{number}", name) for number, name in enumerate((STORESCP, FORKING))
    ]
    started += [receivers.pynetdicom(folder / "pynetdicom"), bare.receiver(folder / "bare")]
    return {receiver.name: receiver for receiver in started}


def _rounds(
    started: Mapping[str, Receiver],
    images: list[Any],
    little: list[Any],
    folder: Path,
    disk: Disk,
    rounds: int,
    scale: float,
) -> dict[tuple[str, str], Taken]:
    taken = {(load.name, name): Taken([], []) for load in LOADS for name in load.receivers}
    at_rest = {name: _user_at_rest(receiver) for name, receiver in started.items()}
    for number in range(rounds):
        disk.measure()
        for load in LOADS:
            order = load.receivers[number % len(load.receivers) :] + load.receivers[: number % len(load.receivers)]
            for name in order:
                source = folder / f"{number} {load.name} {name}"
                count = max(load.associations, round(load.count * scale))
                write_copies(little if load.small else images, count, source)
                receiver = started[name]
                before, began = receiver.user_seconds(), time.monotonic()
                if name == BARE:
                    seconds = bare.send(source, receiver.port, load.associations)
                else:
                    seconds = receivers.send(source, receiver.port, load.environment, load.associations)
                _come_to_rest(receiver)
                gigabytes = size_mb(source) / 1000
                taken[load.name, name].rates.append(count / seconds)
                user = receiver.user_seconds() - before - at_rest[name] * (time.monotonic() - began)
                taken[load.name, name].user.append(user / gigabytes)
                for file in source.iterdir():
                    file.unlink()
    return taken


def _user_at_rest(receiver: Receiver) -> float:
    """User CPU time it takes a second while nothing comes."""
    _come_to_rest(receiver)
    before = receiver.user_seconds()
    time.sleep(REST_SECONDS)
    return (receiver.user_seconds() - before) / REST_SECONDS


def _come_to_rest(receiver: Receiver) -> None:
    """Until it computes no more for a while, so that its own work does not fall into another's time."""
    deadline, calm = time.monotonic() + 20, 0
    while calm < CALM and time.monotonic() < deadline:
        before = receiver.user_seconds()
        time.sleep(0.5)
        calm = calm + 1 if receiver.user_seconds() - before < 0.05 else 0


def _rate_rows(load: Load, taken: Mapping[tuple[str, str], Taken]) -> list[Row]:
    rows = []
    mine = [name for name in load.receivers if name in (OURS, TWO, ALONE, VOLATILE, BARE)]
    for name in mine:
        for rival in load.receivers:
            if rival in mine:
                continue
            theirs = median(taken[load.name, rival].rates)
            ratio = load.goals.get(rival) if name not in (ALONE, BARE) else None
            goal = round(theirs * ratio, 1) if ratio else None
            figure = load.name if name == OURS else f"{load.name}; {name}"
            rows.append(
                Row(figure, "objects/s", median(taken[load.name, name].rates), theirs, rival, goal, better="more")
            )
    return rows


def _disk_rows(disk: Disk, taken: Mapping[tuple[str, str], Taken]) -> list[Row]:
    rows = []
    for load in (LOADS[0], LOADS[2]):
        theirs = median(taken[load.name, STORESCP].rates)
        name = f"{load.name}; a bare loop that flushes"
        rows.append(Row(name, "objects/s", median(disk.rates[load.small]), theirs, STORESCP, better="more"))
    return rows


def _user_rows(taken: Mapping[tuple[str, str], Taken], digest: float) -> list[Row]:
    load = LOADS[0].name
    used = {name: median(taken[load, name].user) for name in (OURS, ALONE, BARE, ORTHANC, STORESCP)}
    whole, orthanc, storescp = used[OURS], used[ORTHANC], used[STORESCP]
    mine = round(max(0.0, whole - digest), 3)
    name = f"user CPU with indexing, less {digest:.2f} s/GB of digests"
    return [
        Row(name, "s/GB", mine, orthanc, ORTHANC, 0.3),
        Row(name, "s/GB", mine, storescp, STORESCP),
        Row("user CPU of the acceptor alone", "s/GB", used[ALONE], storescp, STORESCP),
        Row("user CPU of a bare receiver", "s/GB", used[BARE], storescp, STORESCP),
    ]


def _digest_seconds(images: Sequence[Any]) -> float:
    """What SHA-256 takes of a GB of these images."""
    pixels = [bytes(image.PixelData) for image in images]
    began = time.process_time()
    for data in pixels:
        hashlib.sha256(data)
    return (time.process_time() - began) / (sum(map(len, pixels)) / 1e9)


def _peer(receiver: Receiver) -> PeerSettings:
    return PeerSettings(name="receiver", ae_title="BENCHNODE", host="127.0.0.1", port=receiver.port)


def _echo_rows(started: Mapping[str, Receiver], rounds: int) -> list[Row]:
    """C-ECHO on an open association, ms."""
    took: dict[str, list[float]] = {name: [] for name in (OURS, ORTHANC, STORESCP, PYNETDICOM)}
    for _ in range(rounds):
        for name, times in took.items():
            with Association(_peer(started[name]), "BENCH", [_ECHO]) as association:
                agreed = association.agreed(_ECHO)
                assert agreed is not None
                each = []
                for _ in range(ECHOES):
                    began = time.perf_counter()
                    association.request(agreed.id, C_ECHO_RQ, VERIFICATION)
                    association.response()
                    each.append((time.perf_counter() - began) * 1000)
            times.append(median(each))
    mine = median(took.pop(OURS))
    return [Row("C-ECHO round trip", "ms", mine, median(times), name, 2.0) for name, times in took.items()]


def _idle_rows(receiver: Receiver) -> list[Row]:
    """What open associations cost that say nothing."""
    pid = receiver.processes[0].pid
    before_mb = pss_mb(pid)
    opened = [Association(_peer(receiver), "BENCH", [_ECHO]) for _ in range(IDLE)]
    time.sleep(1)
    busy = _cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    percent = (_cpu_seconds(pid) - busy) / IDLE_SECONDS / IDLE * 100
    with_mb = pss_mb(pid)
    for association in opened:
        association.release()
    return [
        Row(f"idle association, one of {IDLE}", "% of a core", round(percent, 4), goal=0.3),
        Row(f"acceptor with {IDLE} idle associations; without in peer's place", "MB PSS", with_mb, before_mb, goal=250),
    ]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    sys.exit(main())
