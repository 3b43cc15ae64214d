"""Memory of a node without workers when it is idle, beside that of Orthanc: PSS of each process, Linux only."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from peers import Orthanc, echoscu, program

from benchmarks.processes import NodeProcesses, command_line, family, maps, pss_mb
from benchmarks.table import Row, report, version_of

GOAL_MB = 250.0
SETTLE_S = 5.0
ENGINES = ("libtorch", "/monai/", "/highdicom/")


def main() -> int:
    """Start both, open a page and an association of each, let them rest, measure."""
    with tempfile.TemporaryDirectory() as folder:
        orthanc = Orthanc(Path(folder) / "orthanc")
        orthanc.start()
        try:
            with NodeProcesses(Path(folder) / "node", "serve", orthanc.dicom_port) as node:
                for page in ("/", "/healthz", "/metrics"):
                    node.get(page)
                echoscu(orthanc.dicom_port, called=orthanc.aet)
                orthanc.get("/studies")
                time.sleep(SETTLE_S)
                parts = {_name(pid): pss_mb(pid) for pid in family(node.process.pid)}
                loaded = [what for what in ENGINES for pid in family(node.process.pid) if maps(pid, what)]
                assert orthanc.process is not None
                peer = pss_mb(orthanc.process.pid)
        finally:
            orthanc.stop()
    if loaded:
        raise SystemExit(f"the node has mapped what only workers may: {sorted(set(loaded))}")
    rows = [Row(f"idle PSS: {name}", "MB", round(size, 1)) for name, size in parts.items()]
    together = round(sum(parts.values()), 1)
    rows.append(Row("idle PSS: together", "MB", together, round(peer, 1), "Orthanc", goal=GOAL_MB))
    notes = ["no process has torch, MONAI or highdicom mapped", "a worker is not counted: it holds the model"]
    return report("idle_memory", rows, {"orthanc": version_of(program("Orthanc"), "--version")}, notes=notes)


def _name(pid: int) -> str:
    line = command_line(pid)
    for part, name in (("run-node", "node with web"), ("run-acceptor", "acceptor"), (" serve", "supervisor")):
        if part in line:
            return name
    return "broker" if "valkey" in line or "redis" in line else line[:40]


if __name__ == "__main__":
    sys.exit(main())
