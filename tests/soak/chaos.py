"""Store without pause while acceptor and node are killed at random and the disk fills, then count.

``python -m soak.chaos --faults 200`` with ``tests`` on the path; ``make chaos-reception`` does that.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from peers import ENVIRONMENT, program
from soak.account import Account, await_index, settle
from soak.objects import EXPLICIT_LITTLE, MR, Made, make, new_uid
from soak.processes import CALLING, Reception

from dicom_node.dimse.send import Sender
from dicom_node.domain.sending import OutgoingObject
from dicom_node.errors import PeerError
from dicom_node.supervisor import WRONG_CONFIGURATION

BATCH = 8  # objects of one association
PAUSE_S = 0.05  # of a sender between two associations
LARGEST_OBJECT = 400_000  # bytes of pixels
FILE_LIMIT = 200_000  # bytes, of the acceptor where no disk of our own can be mounted
ROOM = 4 << 30  # bytes of the disk while it is not full
LAST_ROOM = 1 << 18  # bytes that are left of it when it is
_SENDING = re.compile(r"Sending file: (\S+)")


@dataclass
class Ledger:
    """What the senders know. Each entry is written by one thread."""

    sent: dict[str, str] = field(default_factory=dict)  # UID → SHA-256 of the data set
    acknowledged: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)  # statuses that are not Success


@dataclass
class StoreLoop(threading.Thread):
    """Sends new objects, and again those without an answer, until it is told to stop."""

    reception: Reception
    ledger: Ledger
    seed: int
    stop: threading.Event

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.chance = random.Random(self.seed)
        self.folder = self.reception.folder / f"sender{self.seed}"
        self.folder.mkdir()
        self.waiting: dict[str, Path] = {}
        self.study, self.number = new_uid(), 0

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self.stop.wait(PAUSE_S):
            while len(self.waiting) < BATCH:
                self._add()
            for uid in self.send(list(self.waiting.items())[:BATCH]):
                self.ledger.acknowledged.add(uid)
                self.waiting.pop(uid).unlink()

    def send(self, batch: list[tuple[str, Path]]) -> list[str]:
        """Send files over one association; the UIDs that were answered with Success."""
        raise NotImplementedError

    def _add(self) -> None:
        self.number += 1
        if self.number % 50 == 0:
            self.study = new_uid()
        size = self.chance.choice((2, 2000, 20_000, 20_000, LARGEST_OBJECT))
        made: Made = make(self.study, self.number, self.chance.randbytes(size))
        path = self.folder / f"{self.number}.dcm"
        path.write_bytes(made.part10())
        self.ledger.sent[made.uid] = made.digest
        self.waiting[made.uid] = path


class OwnSender(StoreLoop):
    """Our own SCU."""

    def send(self, batch: list[tuple[str, Path]]) -> list[str]:
        objects = [OutgoingObject(path, MR, uid, EXPLICIT_LITTLE) for uid, path in batch]
        try:
            outcomes = Sender(timeout_s=20.0).send(self.reception.peer, CALLING, objects)
        except PeerError:
            return []
        self.ledger.refused.update(f"0x{each.status:04X}" for each in outcomes if each.status)
        return [each.sop_instance_uid for each in outcomes if each.status == 0]


class DcmtkSender(StoreLoop):
    """DCMTK's storescu; its log tells which objects were answered with Success."""

    def send(self, batch: list[tuple[str, Path]]) -> list[str]:
        files = {str(path): uid for uid, path in batch}
        where = ["--aetitle", CALLING, "--call", "DICOMNODE", "127.0.0.1", str(self.reception.port)]
        command = [program("storescu"), "--verbose", "--timeout", "20", *where, *files]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", env=ENVIRONMENT, timeout=120)
        answered, under_way = [], ""
        for line in (ran.stdout + ran.stderr).splitlines():
            if found := _SENDING.search(line):
                under_way = files[found[1]]
            elif "Received Store Response (Success)" in line:
                answered.append(under_way)
            elif "Received Store Response" in line:
                self.ledger.refused[line.split("(", 1)[-1].rstrip(")")] += 1
        return answered


class Disk:
    """A small file system of our own below the data directory, which can be filled and given room at once."""

    def __init__(self, folder: Path, *, mount: bool = True) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ours = mount and os.geteuid() == 0 and self._mount("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs")

    def fill(self) -> None:
        """Leave room for a few objects."""
        for _ in range(10):
            told = os.statvfs(self.folder)
            used = (told.f_blocks - told.f_bfree) * told.f_frsize
            if self._mount("-o", f"remount,size={used + LAST_ROOM}"):  # fails if more was written meanwhile
                return
        raise RuntimeError(f"{self.folder} could not be filled")

    def give_room(self) -> None:
        """Leave room again."""
        if self.ours:
            self._mount("-o", f"remount,size={ROOM}")

    def close(self) -> None:
        """Unmount it."""
        if self.ours:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def _mount(self, *options: str) -> bool:
        return subprocess.run(["mount", *options, str(self.folder)], capture_output=True, check=False).returncode == 0


@dataclass
class Outcome:
    """What a run of faults has come to."""

    account: Account
    kills: Counter[str]
    ended: Counter[str]  # processes that ended by themselves, on a full disk
    fillings: int
    refused: Counter[str]
    seconds: float

    def __str__(self) -> str:
        kills = ", ".join(f"{part} {times} times" for part, times in sorted(self.kills.items()))
        refused = ", ".join(f"{status}: {times}" for status, times in self.refused.items()) or "none"
        return (
            f"killed {kills}; ended by themselves: {sum(self.ended.values())}; disk filled {self.fillings} times; "
            f"refused: {refused}; {self.seconds:.0f} s\n"
            f"{self.account}"
        )


@dataclass
class Chaos:
    """One run: ``faults`` kills while DCMTK and we send, the disk being filled now and then."""

    folder: Path
    faults: int
    seed: int
    mount: bool = True  # a disk of our own that can be full; else the size of files is limited
    told: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.reception = Reception(self.folder)
        self.ledger = Ledger()
        self.kills: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()  # by themselves
        self.fillings = 0

    def run(self) -> Outcome:
        """Do it, and count when everything has come to rest."""
        began, disk = time.monotonic(), Disk(self.reception.data, mount=self.mount)
        stop = threading.Event()
        senders = [kind(self.reception, self.ledger, n, stop) for n, kind in enumerate((OwnSender, DcmtkSender) * 2)]
        try:
            for part in ("node", "acceptor"):
                self.reception.start(part)
            self.reception.await_acceptor()
            self.reception.await_node()
            for sender in senders:
                sender.start()
            for number in range(1, self.faults + 1):
                self._fault(disk)
                if number % 20 == 0:
                    self.told(f"{number} faults, {len(self.ledger.acknowledged)} acknowledged")
            self._come_to_rest(disk, senders, stop)
            database = self.reception.database()
            self.told(f"processes: { {part: process.poll() for part, process in self.reception.running.items()} }")
            account = settle(database, self.reception.store, self.ledger.sent, self.ledger.acknowledged)
            database.close()
        finally:
            stop.set()
            self.reception.stop()
            disk.close()
        return Outcome(account, self.kills, self.ended, self.fillings, self.ledger.refused, time.monotonic() - began)

    def _fault(self, disk: Disk) -> None:
        self._await_progress()
        full, limit = self.chance.random() < 0.25, 0
        if full:
            self.fillings += 1
            if disk.ours:
                disk.fill()
            else:
                limit = FILE_LIMIT
        time.sleep(self.chance.uniform(0.2, 1.0) if full else self.chance.uniform(0.0, 0.5))
        for part in self.chance.choice((["acceptor"], ["acceptor"], ["node"], ["acceptor", "node"])):
            self.reception.kill(part)
            self.kills[part] += 1
            if full and disk.ours and part == "node":
                disk.give_room()  # a node does not start on a disk that is full
            self.reception.start(part, limit if part == "acceptor" else 0)
        time.sleep(self.chance.uniform(0.0, 0.3))
        if full:
            disk.give_room()
        if limit:
            time.sleep(1.0)
            self.reception.kill("acceptor")
            self.kills["acceptor"] += 1
            self.reception.start("acceptor")

    def _await_progress(self) -> None:
        """Until something is acknowledged, so that each fault meets traffic."""
        before, deadline = len(self.ledger.acknowledged), time.monotonic() + 30
        while len(self.ledger.acknowledged) == before and time.monotonic() < deadline:
            time.sleep(0.01)
            self._restart_what_ended()

    def _restart_what_ended(self) -> None:
        """As the supervisor does; and as it does not, where a process says that it is configured wrongly."""
        for part, process in self.reception.running.items():
            if process.poll() is not None:
                log = (self.folder / f"{part}.log").read_text()
                if process.returncode == WRONG_CONFIGURATION:
                    raise RuntimeError(f"the {part} has given up: {log[-1000:]}")
                self.ended[part] += 1
                self.reception.start(part)

    def _come_to_rest(self, disk: Disk, senders: list[StoreLoop], stop: threading.Event) -> None:
        disk.give_room()
        self.reception.kill("acceptor")
        self.reception.start("acceptor")
        self.reception.await_acceptor()
        self._await_progress()
        stop.set()
        for sender in senders:
            sender.join(130)
        self._restart_what_ended()
        database = self.reception.database()
        await_index(database, self.reception.store)
        database.close()


def main() -> int:
    """Run it from the command line; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--without-mount", action="store_true", help="limit the size of files instead of a disk's")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.faults} faults", flush=True)
    mount = not arguments.without_mount
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        outcome = Chaos(Path(name), arguments.faults, arguments.seed, mount, lambda text: print(text, flush=True)).run()
    print(outcome)
    return 0 if outcome.account.good else 1


if __name__ == "__main__":
    sys.exit(main())
