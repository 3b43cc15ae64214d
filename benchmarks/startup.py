"""How long a command takes to start: ``dicom-node --help`` beside other command lines written in Python."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.table import Row, median, report

GOAL_S = 0.5
RUNS = 15
DICOM_NODE = [sys.executable, "-m", "dicom_node.cli.main"]
CELERY = [sys.executable, "-m", "celery"]


def main() -> int:
    """Run every command in turn, again and again; print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "dicom-node.toml"
        subprocess.run([*DICOM_NODE, "--config", str(config), "init"], check=True, capture_output=True)
        commands = {
            "--help": [*DICOM_NODE, "--help"],
            "studies list --help": [*DICOM_NODE, "studies", "list", "--help"],
            "rules check": [*DICOM_NODE, "--config", str(config), "rules", "check"],
            "celery": [*CELERY, "--help"],
            "typer": [sys.executable, "-c", "import typer"],
            "python": [sys.executable, "-c", ""],
        }
        took: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS + 1):
            for name, command in commands.items():
                took[name].append(_seconds(command))
    figures = {name: median(seconds[1:]) for name, seconds in took.items()}  # the first one fills the disk cache
    rows = [
        Row("dicom-node --help", "s", figures["--help"], figures["celery"], "celery --help", goal=GOAL_S),
        Row("dicom-node studies list --help", "s", figures["studies list --help"], figures["celery"], "celery --help"),
        Row("dicom-node rules check", "s", figures["rules check"], figures["celery"], "celery --help"),
        Row("dicom-node --help, above the floor", "s", figures["--help"], figures["typer"], "python -c 'import typer'"),
    ]
    notes = [f"median of {RUNS} runs in turn; python itself starts in {figures['python']:.3f} s"]
    return report("startup", rows, {}, notes=notes)


def _seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
