"""Fuzz every target, then look for leaks: ``python -m fuzz --inputs 100000`` with ``tests`` on the path; ``make fuzz``.

With Atheris installed the inputs are guided by coverage, else they are mutations of seeds. What was found worth keeping
is run again and again in one process, whose memory, threads and descriptors must stay as they are.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import FrameType

import psutil
from fuzz.mutation import mutate
from fuzz.targets import TARGETS, seeds

HANGS_AFTER_S = 10
LARGEST_INPUT = 4096  # bytes
MEMORY_MB = 2048  # of a guided process
KEPT = 2000  # inputs of a target that are run again
ROUNDS = 6
GROWTH_MB = 8.0  # between two rounds that still counts as flat


def main() -> int:
    """Every target; 1 when one has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all, shared by the targets")
    parser.add_argument("--seconds", type=int, default=1800, help="in all, at most")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31))
    parser.add_argument("--corpus", type=Path, help="where inputs are kept from run to run")
    arguments = parser.parse_args()
    logging.disable()
    warnings.simplefilter("ignore")  # pydicom remarks on each value that is not as it should be
    guided = importlib.util.find_spec("atheris") is not None
    print(f"seed {arguments.seed}; {'guided by coverage (Atheris)' if guided else 'mutations; pip install atheris'}")
    failed = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        for target in TARGETS:
            corpus = (arguments.corpus or Path(name)) / target
            corpus.mkdir(parents=True, exist_ok=True)
            for number, data in enumerate(seeds(target)):
                (corpus / f"seed{number}").write_bytes(data)
            each, seconds = -(-arguments.inputs // len(TARGETS)), arguments.seconds // len(TARGETS)
            run = _guided if guided else _mutations
            if not run(target, corpus, each, seconds, arguments.seed) or not _flat(target, corpus):
                failed.append(target)
    print(f"faults in {', '.join(failed)}" if failed else "no fault")
    return 1 if failed else 0


def _guided(target: str, corpus: Path, inputs: int, seconds: int, seed: int) -> bool:
    limits = (
        f"-runs={inputs}",
        f"-max_total_time={seconds}",
        f"-timeout={HANGS_AFTER_S}",
        f"-rss_limit_mb={MEMORY_MB}",
    )
    options = (*limits, f"-max_len={LARGEST_INPUT}", f"-seed={seed}", f"-artifact_prefix={target}-", "-verbosity=0")
    began = time.monotonic()
    command = [sys.executable, "-m", "fuzz.guided", target, *options, "-print_final_stats=1", str(corpus)]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    told = [line.split(":")[-1].strip() for line in ran.stderr.splitlines() if "number_of_executed_units" in line]
    print(f"{target}: {told[-1] if told else '?'} inputs in {time.monotonic() - began:.0f} s", flush=True)
    if ran.returncode:
        print(ran.stdout[-2000:], ran.stderr[-4000:], sep="\n")
    return ran.returncode == 0


def _mutations(target: str, corpus: Path, inputs: int, seconds: int, seed: int) -> bool:
    def hangs(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"an input takes more than {HANGS_AFTER_S} s")

    signal.signal(signal.SIGALRM, hangs)
    chance, began, known = random.Random(seed), time.monotonic(), list(seeds(target))
    done, data = 0, b""
    try:
        while done < inputs and time.monotonic() - began < seconds:
            data = mutate(chance, known)[:LARGEST_INPUT]
            signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER_S)
            TARGETS[target](data)
            done += 1
            if done % (inputs // KEPT + 1) == 0:
                (corpus / f"kept{done}").write_bytes(data)
                known.append(data)
    except Exception as error:  # noqa: BLE001  whatever a reader raises is the finding
        file = Path(f"{target}-fault")
        file.write_bytes(data)
        print(f"{target}: {type(error).__name__}: {error}; its input is in {file}")
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    print(f"{target}: {done} inputs in {time.monotonic() - began:.0f} s", flush=True)
    return True


def _flat(target: str, corpus: Path) -> bool:
    """Whether running the same inputs again needs no more of anything."""
    inputs = [path.read_bytes() for path in sorted(corpus.iterdir())[:KEPT]]
    process, marks = psutil.Process(os.getpid()), []
    for _ in range(ROUNDS):
        for data in inputs:
            TARGETS[target](data)
        gc.collect()
        marks.append((process.memory_info().rss / 1e6, process.num_threads(), process.num_fds()))
    (before, threads, descriptors), (after, *last) = marks[ROUNDS // 2 - 1], marks[-1]
    print(f"{target}: {len(inputs)} inputs {ROUNDS} times: {before:.1f} to {after:.1f} MB, {last[1]} descriptors")
    return after - before < GROWTH_MB and last == [threads, descriptors]


if __name__ == "__main__":
    sys.exit(main())
