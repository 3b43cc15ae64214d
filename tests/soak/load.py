"""Many associations at once that store many small objects: what acceptor and node hold, and whether all arrived.

``python -m soak.load --objects 100000 --associations 100`` with ``tests`` on the path; ``make soak`` does that.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from peers import wait_until
from soak.account import Account, await_index, settle
from soak.objects import MR, PROPOSAL, make, new_uid
from soak.processes import CALLING, PARTS, Footprint, Reception

from dicom_node.archive.database import Database
from dicom_node.dimse.associate import Association

PIXEL_BYTES = 2000
GROWTH_MB = {"acceptor": 40.0, "node": 80.0}  # PSS over the second half that still counts as flat: allocator, SQLite
MARKS = 10  # footprints taken during a run


@dataclass
class Soaked:
    """What a soak has come to. Footprints by process: at each tenth of the run, all associations open."""

    account: Account
    footprints: dict[str, list[Footprint]]
    after: dict[str, Footprint]  # when all associations have ended
    seconds: float  # of sending

    @property
    def faults(self) -> list[str]:
        """What is not as it should be."""
        found = [] if self.account.good else [str(self.account)]
        for part, marks in self.footprints.items():
            half, last, after = marks[len(marks) // 2], marks[-1], self.after[part]
            first = marks[part == "node"]  # whose threads open the ledger when they first need it
            if last.pss_mb - half.pss_mb > GROWTH_MB[part]:
                found.append(f"the {part} grew from {half.pss_mb:.0f} to {last.pss_mb:.0f} MB in the second half")
            if last.threads > marks[1].threads + 2:
                found.append(f"the {part} gathers threads: {marks[1]}; {last}")
            if after.threads > first.threads + 2 or after.descriptors > first.descriptors + 8:
                found.append(f"the {part} keeps threads or descriptors: {first}; {after}")
        return found

    def __str__(self) -> str:
        lines = [f"{self.account.acknowledged / self.seconds:.0f} objects/s; {self.account}"]
        for part, marks in self.footprints.items():
            middle = marks[len(marks) // 2]
            lines += [f"{part}:", f"  before  {marks[0]}", f"  middle  {middle}", f"  end     {marks[-1]}"]
            lines.append(f"  after   {self.after[part]}")
        return "\n".join(lines)


@dataclass
class _Sender(threading.Thread):
    """Stores ``objects`` over one association."""

    reception: Reception
    objects: int
    stored: dict[str, str] = field(default_factory=dict)  # UID → digest

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.may_end = threading.Event()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        study = new_uid()
        with (
            Association(self.reception.peer, CALLING, [PROPOSAL], timeout_s=120.0) as association,
            tempfile.TemporaryFile(buffering=0) as file,
        ):
            agreed = association.agreed(PROPOSAL)
            assert agreed is not None
            for number in range(self.objects):
                made = make(study, number, os.urandom(PIXEL_BYTES))
                file.seek(0)
                file.truncate()
                file.write(made.data)
                file.seek(0)
                association.store(agreed.id, MR, made.uid, file)
                answer, _ = association.response()
                assert answer.number(0x0900) == 0, hex(answer.number(0x0900) or 0)
                self.stored[made.uid] = made.digest
            self.may_end.wait()


def soak(folder: Path, associations: int, objects: int, told: Callable[[str], None] = lambda _: None) -> Soaked:
    """Store ``objects`` in all, over ``associations`` that are open at the same time."""
    reception = Reception(folder, associations + 10)
    try:
        for part in ("node", "acceptor"):
            reception.start(part)
        reception.await_acceptor()
        reception.await_node()
        footprints = {part: [_footprint(reception, part)] for part in PARTS}
        senders = [_Sender(reception, objects // associations) for _ in range(associations)]
        began = time.monotonic()
        for sender in senders:
            sender.start()
        for mark in range(1, MARKS + 1):
            _await(senders, mark * objects // MARKS)
            for part, marks in footprints.items():
                marks.append(_footprint(reception, part))
            told(f"{time.monotonic() - began:.0f} s: {_stored(senders)} stored; acceptor: {footprints['acceptor'][-1]}")
        seconds = time.monotonic() - began
        for sender in senders:
            sender.may_end.set()
            sender.join(60)
        return _settled(reception, senders, footprints, seconds)
    finally:
        reception.stop()


def _settled(
    reception: Reception, senders: list[_Sender], footprints: dict[str, list[Footprint]], seconds: float
) -> Soaked:
    database: Database = reception.database()
    await_index(database, reception.store)
    stored = {uid: digest for sender in senders for uid, digest in sender.stored.items()}
    account = settle(database, reception.store, stored, stored)
    database.close()
    gc.collect()
    wait_until(
        lambda: _footprint(reception, "acceptor").threads <= footprints["acceptor"][0].threads + 2,
        "the threads of the associations to end",
        seconds=20,
    )
    return Soaked(account, footprints, {part: _footprint(reception, part) for part in PARTS}, seconds)


def _footprint(reception: Reception, part: str) -> Footprint:
    return Footprint.of(reception.running[part].pid)


def _stored(senders: list[_Sender]) -> int:
    return sum(len(sender.stored) for sender in senders)


def _await(senders: list[_Sender], goal: int) -> None:
    goal = min(goal, sum(sender.objects for sender in senders))
    while _stored(senders) < goal:
        if not any(sender.is_alive() for sender in senders):
            raise RuntimeError(f"the senders ended after {_stored(senders)} objects")
        time.sleep(0.02)


def main() -> int:
    """Run it from the command line; 1 when something is lost or grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--associations", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        soaked = soak(Path(name), arguments.associations, arguments.objects, lambda text: print(text, flush=True))
    print(soaked, *soaked.faults, sep="\n")
    return 1 if soaked.faults else 0


if __name__ == "__main__":
    sys.exit(main())
