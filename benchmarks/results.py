"""Segmentations of many segments and of few, beside highdicom and dcmqi: time and memory to the file on disk.

Each run is a process of its own; ours and the peers' alternate, and must hold the same pixels.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.table import Row, median, report

RUNS = int(os.environ.get("BENCH_RUNS", "3"))
# Case: encoding, segments, slices.
CASES = {
    "many": ("BINARY", 104, 300),
    "probabilities": ("FRACTIONAL", 25, 100),  # highdicom takes 10 GB for this, and three times that for 300 slices
    "few": ("BINARY", 2, 300),
    "small": ("BINARY", 1, 30),
    "label map": ("LABELMAP", 104, 300),
}
# Ours may take these shares of the peer's time and memory.
HIGHDICOM = {"many": (1 / 4, 0.5), "probabilities": (1 / 8, 0.15), "few": (1.0, None), "small": (1.0, None)}
DCMQI = {"many": (1 / 6, None)}


def main() -> int:
    """Every case, against whoever writes it."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for case, (encoding, segments, slices) in CASES.items():
            rivals = ["highdicom"] if case not in DCMQI else ["highdicom", "dcmqi"]
            runs: dict[str, list[dict[str, float]]] = {who: [] for who in ("ours", *rivals)}
            for _ in range(RUNS):
                for who, found in runs.items():
                    found.append(_run(who, encoding, segments, slices, Path(name)))
            told = {str(run["pixels"]) for found in runs.values() for run in found}
            assert len(told) == 1, f"{case}: the writers do not agree"
            what = f"{encoding} SEG, {segments} segment(s), {slices} slices of 512²"
            rows += _rows(what, runs, {"highdicom": HIGHDICOM.get(case), "dcmqi": DCMQI.get(case)})
    notes = [
        f"SYNTHETIC segments; medians of {RUNS} alternating runs, each in a new process that has written a SEG before",
        "from arrays in memory to a file; of dcmqi also reading its input, uncompressed NRRD files and images",
        "memory: what the largest resident set grew by while writing, the file included where it stands in memory",
    ]
    versions = {"dcmqi": version("dcmqi")}
    return report("results", rows, versions, notes=notes)


def _rows(
    what: str, runs: dict[str, list[dict[str, float]]], goals: dict[str, tuple[float, float | None] | None]
) -> list[Row]:
    rows = []
    ours = runs.pop("ours")
    for who, peer in runs.items():
        share, of_memory = goals[who] or (None, None)
        for figure, key, unit, wanted in ((what, "seconds", "s", share), ("  memory", "grown_mb", "MB", of_memory)):
            mine, theirs = _median(ours, key), _median(peer, key)
            rows.append(Row(figure, unit, mine, theirs, who, goal=round(theirs * wanted, 3) if wanted else None))
    return rows


def _median(runs: Sequence[dict[str, float]], key: str) -> float:
    return median([run[key] for run in runs])


def _run(who: str, encoding: str, segments: int, slices: int, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.result_runs", who, encoding, str(segments), str(slices), str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ran.stderr[-3000:]}")
    told: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return told


if __name__ == "__main__":
    sys.exit(main())
