"""The main job: DCMTK sends a chest CT, its SEG and SR come to Orthanc. Time after the last image, by stage."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peers import Orthanc, program, storescu

from benchmarks.processes import NodeProcesses
from benchmarks.studies import chest_ct, write_copies
from benchmarks.table import Row, median, report, version_of

GOAL_S = 5.0
QUIET_S = 2.0
RUNS = 5
WITHIN_S = 120.0


def main() -> int:
    """One run to warm the worker, then those that count."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, what = chest_ct(folder / "phantom")
        orthanc = Orthanc(folder / "orthanc")
        orthanc.start()
        try:
            with NodeProcesses(folder / "node", "up", orthanc.dicom_port, QUIET_S) as node:
                runs = [_one(node, orthanc, images, folder / f"study{number}") for number in range(RUNS + 1)][1:]
        finally:
            orthanc.stop()
    rows = [
        Row(
            "last image sent -> SEG and SR in the PACS, less the quiet period",
            "s",
            median([seconds for seconds, _ in runs]),
            goal=GOAL_S,
        )
    ]
    for stage in dict.fromkeys(stage for _, stages in runs for stage in stages):
        rows.append(Row(f"  {stage}", "s", median([stages[stage] for _, stages in runs if stage in stages])))
    versions = {
        "orthanc": version_of(program("Orthanc"), "--version"),
        "dcmtk": version_of(program("storescu"), "--version"),
    }
    seconds = ", ".join(f"{seconds:.2f}" for seconds, _ in runs)
    notes = [
        f"{what}; warm worker; quiet period {QUIET_S:g} s; runs: {seconds} s",
        "stages as `studies show` tells them",
    ]
    return report("main_job", rows, versions, notes=notes)


def _one(node: NodeProcesses, orthanc: Orthanc, images: list[Any], folder: Path) -> tuple[float, dict[str, float]]:
    """Seconds after the last image, less the quiet period, seen from outside; and those of each stage."""
    study = write_copies(images, len(images), folder)
    before = _held(orthanc)
    sent = storescu(node.dicom_port, folder, called=node.ae_title)
    last_image = time.monotonic()
    assert sent.returncode == 0, sent.stderr
    while _held(orthanc) < before + 2:
        if time.monotonic() > last_image + WITHIN_S:
            raise SystemExit(f"no result after {WITHIN_S:.0f} s: {node.tell('studies', 'show', study)}")
        time.sleep(0.02)
    took = time.monotonic() - last_image - QUIET_S
    assert {"SEG", "SR"} == set(orthanc.series_of(study))
    return took, _stages(node, study)


def _held(orthanc: Orthanc) -> int:
    return int(orthanc.get("/statistics")["CountInstances"])


def _stages(node: NodeProcesses, study: str) -> dict[str, float]:
    """Seconds of each stage, once the delivery stands in the ledger."""
    deadline = time.monotonic() + 10
    while True:
        told = node.tell("studies", "show", study)
        if all(parcel["state"] != "due" for parcel in told["parcels"]) or time.monotonic() > deadline:
            return {stage["stage"]: stage["seconds"] or 0.0 for stage in told["stages"]}
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
