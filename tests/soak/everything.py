"""Studies flow from scanner to PACS while every process of the hospital is killed, frozen or starved; then count.

``python -m soak.everything --faults 200`` with ``tests`` on the path; ``make chaos`` does that. Kinds and order of the
faults derive from the seed alone.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from installed_node import Part, part_of
from peers import wait_until
from soak.clinic import Clinic
from soak.hospital import LEASE_S, Hospital
from soak.verdict import Verdict, judge, settled
from sqlalchemy import func, select

from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.schema import instance
from dicom_node.errors import LedgerError

PATIENCE_S = 30.0  # for a process that is to be hit, and for all of them to be back now and then
WORK_EVERY = 8  # faults after which some study must come to its end before the next one
REST_S = 600.0  # for everything to come to its end after the last fault
SPARE_DESCRIPTORS = 20  # more than at the start that are no leak: connections to ledger, broker, pages

# Kind of fault -> how often, of all of them.
KINDS = {
    "worker killed": 5,
    "worker child killed": 5,
    "bundle host killed": 5,
    "node killed": 4,
    "node killed while it delivers": 4,
    "node killed while jobs wait": 3,
    "acceptor killed": 5,
    "broker killed": 3,
    "broker wiped": 3,
    "PACS down": 4,
    "worker frozen beyond its lease": 2,
    "worker told to stop": 2,
    "everything killed": 1,
}
WITH_POSTGRESQL = {"database restarted": 4}
WITH_DISK = {"disk full": 3}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the plan."""

    kind: str
    after_s: float  # since the last one
    lasts_s: float


def plan(seed: int, faults: int, *, postgresql: bool, disk: bool) -> list[Fault]:
    """The faults of a seed; each kind comes before any comes again too often."""
    chance = random.Random(seed)
    weights = KINDS | (WITH_POSTGRESQL if postgresql else {}) | (WITH_DISK if disk else {})
    bag: list[str] = []
    planned = []
    for _ in range(faults):
        if not bag:
            bag = [kind for kind, times in weights.items() for _ in range(times)]
            chance.shuffle(bag)
        planned.append(Fault(bag.pop(), chance.uniform(0.0, 1.0), chance.uniform(0.5, 3.0)))
    return planned


@dataclass
class Outcome:
    """What a run has come to."""

    verdict: Verdict
    struck: Counter[str]
    missed: Counter[str]  # faults whose process was not there to be hit
    leaks: list[str]
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return self.verdict.good and not self.leaks

    def __str__(self) -> str:
        struck = ", ".join(f"{kind}: {times}" for kind, times in sorted(self.struck.items()))
        missed = ", ".join(f"{kind}: {times}" for kind, times in sorted(self.missed.items())) or "none"
        leaks = "".join(f"\n  leaked: {each}" for each in self.leaks)
        return (
            f"{sum(self.struck.values())} faults in {self.seconds:.0f} s\n{struck}\nmissed: {missed}\n"
            f"{self.verdict}{leaks}"
        )


@dataclass
class Chaos:
    """One run of a plan against a hospital."""

    hospital: Hospital
    faults: list[Fault]
    told: Callable[[str], None] = lambda _: None
    struck: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    def run(self) -> Outcome:
        """Do it, and judge when everything has come to rest."""
        began, leaks = time.monotonic(), []
        self.clinic = Clinic(self.hospital)
        try:
            self.hospital.start()
            self._await_all()
            before = self._descriptors()
            self.clinic.start()
            for number, fault in enumerate(self.faults, 1):
                self._strike(number, fault)
            self._come_to_rest()
            leaks += self._leaks(before)
            verdict = judge(self.hospital, self.clinic)
        finally:
            self.clinic.stop.set()
            leaks += [f"process {each}" for each in self.hospital.stop()]
        return Outcome(verdict, self.struck, self.missed, leaks, time.monotonic() - began)

    def _strike(self, number: int, fault: Fault) -> None:
        if number % WORK_EVERY == 0:
            self._await_all()
            self._await_work()
        time.sleep(fault.after_s)
        hit = _ACTIONS[fault.kind](self, fault)
        (self.struck if hit else self.missed)[fault.kind] += 1
        self.told(
            f"{number} {fault.kind}{'' if hit else ' (was not there)'}; "
            f"{len(self.clinic.images)} studies sent, {self.clinic.finished()} ended"
        )

    def kill(self, part: Part, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a signal to a part of the node, if it is there within a while."""
        process = self._part(part)
        if process is None:
            return False
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            return True
        return False

    def freeze(self, fault: Fault) -> bool:
        """Stop the worker for longer than its lease, and let it wake up."""
        process = self._part("pool child")
        if process is None:
            return False
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            time.sleep(LEASE_S + fault.lasts_s)
            process.resume()
            return True
        return False

    def kill_while(self, condition: Callable[[], bool]) -> bool:
        """Kill the node as soon as something is so, or after a few seconds."""
        deadline = time.monotonic() + 5
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.kill("node")

    def delivers(self) -> bool:
        """Whether a parcel is on its way."""
        try:
            return bool(self.hospital.node.process and Parcels(self.hospital.database()).counts().get("due"))
        except LedgerError:
            return False

    def waits(self) -> bool:
        """Whether a job waits for a worker."""
        try:
            return bool(Ledger(self.hospital.database()).counts().get("queued"))
        except LedgerError:
            return False

    def broker(self, fault: Fault, *, wiped: bool) -> bool:
        """Kill the broker, with or without what it had written down."""
        redis = self.hospital.redis
        if redis is not None:  # it writes nothing down
            redis.kill()
            time.sleep(fault.lasts_s / 3)
            redis.start()
            return True
        hit = self.kill("broker")
        if wiped:
            shutil.rmtree(self.hospital.node.folder / "data" / "broker", ignore_errors=True)
            (self.hospital.node.folder / "data" / "broker").mkdir(exist_ok=True)
        return hit

    def database_restarted(self, fault: Fault) -> bool:
        """PostgreSQL ends in immediate mode, and recovers."""
        server = self.hospital.postgresql
        assert server is not None
        server.stop()
        time.sleep(fault.lasts_s)
        server.start()
        return True

    def pacs_down(self, fault: Fault) -> bool:
        """The PACS is away for a while."""
        self.hospital.pacs.stop()
        time.sleep(2 * fault.lasts_s)
        self.hospital.pacs.start()
        return True

    def disk_full(self, fault: Fault) -> bool:
        """The disk of the data directory is full for a while."""
        self.hospital.disk.fill()
        time.sleep(fault.lasts_s)
        self.hospital.disk.give_room()
        return True

    def everything(self, fault: Fault) -> bool:
        """Every process of the node is killed at once, and it is started again."""
        self.hospital.node.kill_all()
        self.hospital.node.start(seconds=180)
        return True

    def _part(self, part: Part) -> psutil.Process | None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = self.hospital.node.processes().get(part)
            if found is not None:
                return found
            time.sleep(0.1)
        return None

    def _await_all(self) -> None:
        wanted: set[Part] = {"node", "acceptor", "worker", "pool child"}
        deadline = time.monotonic() + PATIENCE_S
        while not wanted <= set(self.hospital.node.processes()) and time.monotonic() < deadline:
            process = self.hospital.node.process
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"the node has given up: {self.hospital.node.log_tail()}")
            time.sleep(0.1)

    def _await_work(self) -> None:
        before, deadline = self.clinic.finished(), time.monotonic() + 2 * PATIENCE_S
        while self.clinic.finished() <= before and time.monotonic() < deadline:
            time.sleep(0.1)

    def _come_to_rest(self) -> None:
        self.clinic.stop.set()
        self.clinic.join(REST_S)
        database = self.hospital.database()
        self.told(f"at rest soon: {len(self.clinic.images)} studies sent, {self.clinic.finished()} ended")
        wait_until(lambda: settled(database, self.clinic), "every study to come to its end", seconds=REST_S)
        for study_uid in self.clinic.images:  # what was routed back while we were away is routed back again
            self._send_back(study_uid)
        wait_until(self.hospital.node.ready, "the node to be ready", seconds=PATIENCE_S)
        files = self.hospital.node.folder / "data" / "objects"
        wait_until(lambda: _indexed(self.hospital) == len(list(files.rglob("*.dcm"))), "the index", seconds=120)

    def _send_back(self, study_uid: str) -> None:
        for modality, series in self.hospital.pacs.series_of(study_uid).items():
            for uid in series if modality in ("SEG", "SR") else ():
                self.hospital.pacs.store_to("node", uid)

    def _descriptors(self) -> dict[str, int]:
        parts = {str(part): process for part, process in self.hospital.node.processes().items()}
        assert self.hospital.node.process is not None
        parts["supervisor"] = psutil.Process(self.hospital.node.process.pid)
        return {part: process.num_fds() for part, process in parts.items()}

    def _leaks(self, before: dict[str, int]) -> list[str]:
        self._await_all()
        after = self._descriptors()
        grown = [
            f"descriptors of the {part}: {before[part]} at first, {held} at last"
            for part, held in after.items()
            if part in before and held > before[part] + SPARE_DESCRIPTORS
        ]
        twice = Counter(self._names())
        return grown + [f"{times} processes that are the {part}" for part, times in twice.items() if times > 1]

    def _names(self) -> list[str]:
        names = []
        for line in self.hospital.strays():
            with suppress(psutil.NoSuchProcess, ValueError):
                names.append(part_of(psutil.Process(int(line.partition(":")[0]))))
        return [str(name) for name in names if name is not None]


def _indexed(hospital: Hospital) -> int:
    with hospital.database().read() as connection:
        return int(connection.execute(select(func.count()).select_from(instance)).scalar_one())


_ACTIONS: dict[str, Callable[[Chaos, Fault], bool]] = {
    "worker killed": lambda chaos, _: chaos.kill("worker"),
    "worker child killed": lambda chaos, _: chaos.kill("pool child"),
    "bundle host killed": lambda chaos, _: chaos.kill("host"),
    "node killed": lambda chaos, _: chaos.kill("node"),
    "node killed while it delivers": lambda chaos, _: chaos.kill_while(chaos.delivers),
    "node killed while jobs wait": lambda chaos, _: chaos.kill_while(chaos.waits),
    "acceptor killed": lambda chaos, _: chaos.kill("acceptor"),
    "broker killed": lambda chaos, fault: chaos.broker(fault, wiped=False),
    "broker wiped": lambda chaos, fault: chaos.broker(fault, wiped=True),
    "PACS down": Chaos.pacs_down,
    "worker frozen beyond its lease": Chaos.freeze,
    "worker told to stop": lambda chaos, _: chaos.kill("worker", signal.SIGTERM),
    "everything killed": Chaos.everything,
    "database restarted": Chaos.database_restarted,
    "disk full": Chaos.disk_full,
}


def chaos(folder: Path, seed: int, faults: int, *, servers: bool, told: Callable[[str], None]) -> Outcome:
    """A run in a folder; where no disk of our own can be mounted none is filled."""
    disk = os.geteuid() == 0
    return Chaos(Hospital(folder, servers, disk), plan(seed, faults, postgresql=servers, disk=disk), told).run()


def main() -> int:
    """Run it from the command line; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--on", choices=("servers", "embedded"), default="servers", help="PostgreSQL and Redis, or not")
    parser.add_argument("--keep", type=Path, help="a folder to run in, which is left behind")
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.faults} faults, on {given.on}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = given.keep or Path(name)
        outcome = chaos(
            folder,
            given.seed,
            given.faults,
            servers=given.on == "servers",
            told=lambda text: print(text, flush=True),
        )
    print(outcome)
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
