"""The table every benchmark prints, and the file it writes."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: ours, and that of a peer measured in the same run."""

    figure: str
    unit: str
    ours: float | None
    peer: float | None = None
    peer_name: str = ""
    goal: float | None = None  # ours must be this or better
    better: Literal["less", "more"] = "less"

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's."""
        return self.ours / self.peer if self.ours is not None and self.peer else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where none is set."""
        if self.goal is None or self.ours is None:
            return None
        return self.ours <= self.goal if self.better == "less" else self.ours >= self.goal


def report(name: str, rows: Sequence[Row], versions: Mapping[str, str], *, notes: Sequence[str] = ()) -> int:
    """Print the table and write ``results/<name>.json``; returns 1 when a goal is missed, else 0."""
    RESULTS.mkdir(exist_ok=True)
    told = {
        "name": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {**own_versions(), **versions},
        "notes": list(notes),
        "rows": [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in rows],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
    print(f"\n{name}: {told['machine']['processor']}, {told['machine']['cores']} cores, load {os.getloadavg()[0]:.1f}")
    print(", ".join(f"{what} {number}" for what, number in told["versions"].items()))
    _print([("figure", "ours", "peer", "ratio", "goal", "met", "peer is"), *(_cells(row) for row in rows)])
    for note in notes:
        print(f"  {note}")
    return int(any(row.met is False for row in rows))


def median(values: Sequence[float]) -> float:
    """The median, rounded to what a table can show."""
    return round(statistics.median(values), 4)


def machine() -> dict[str, str | int | float]:
    """What the figures were measured on."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(memory_gb, 1),
    }


def own_versions() -> dict[str, str]:
    """Versions of Python and of what a figure of ours depends on."""
    found = {"python": platform.python_version()}
    for name in ("dicom-node", "pynetdicom", "pydicom", "celery", "torch", "monai", "highdicom"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def version_of(*command: str) -> str:
    """The first line that a program prints about its version."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    text = (ran.stdout + ran.stderr).strip()
    return text.splitlines()[0].strip("$ ") if text else "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _cells(row: Row) -> tuple[str, ...]:
    met = {True: "yes", False: "NO", None: ""}[row.met]
    numbers = (_number(row.ours, row.unit), _number(row.peer, row.unit))
    return (row.figure, *numbers, _number(row.ratio), _number(row.goal, row.unit), met, row.peer_name)


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} {unit}".strip()


def _print(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)),
        ]
        print("  ".join([*cells, row[-1]]).rstrip())
