"""On a real card: does a bundle give the same there as on the CPU, how fast, and what happens where memory is short?

Exit status: 0 all is well, 1 something is not, or there is no card, so that nothing was checked.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bundles import contract_of, write_bundle

from benchmarks.models import _large
from benchmarks.table import Row, report
from dicom_node.domain.contract import ModelContract
from workers.inference.pool import HostPool

SAME_GOAL = 0.999
WINDOWS = 64
# Sixteen smoothing channels, so that windows cost memory; their mean is smoothed again.
BODY = """weight = torch.full((16, 1, 5, 5, 5), 1 / 125, device=x.device)
        x = torch.nn.functional.conv3d(x, weight, padding=2).mean(1, keepdim=True)"""
SHORT_MB = 1500


def main() -> int:
    """The checks, as a table."""
    if not torch.cuda.is_available():
        print("there is no GPU that torch can use here: nothing was checked")
        return 1
    volume = _large()
    with tempfile.TemporaryDirectory() as name:
        contract = _sliding(Path(name) / "smooth")
        with HostPool("cpu") as pool:
            on_cpu = pool.run(contract, {"image": volume})
        with HostPool("cuda") as pool:
            cold = pool.run(contract, {"image": volume})
            warm = pool.run(contract, {"image": volume})
        resources = replace(contract.resources, gpu_memory_mb=SHORT_MB)
        short = replace(contract, resources=resources, digest="with little memory")
        with HostPool("cuda") as pool:
            squeezed = pool.run(short, {"image": volume})
    same = float(np.mean(on_cpu.label_map == warm.label_map))
    still = float(np.mean(on_cpu.label_map == squeezed.label_map))
    rows = [
        Row("voxels labelled as on the CPU", "", round(same, 6), goal=SAME_GOAL, better="more"),
        Row("the same with little memory", "", round(still, 6), goal=SAME_GOAL, better="more"),
        Row("inference, warm", "s", warm.timings["inference"], on_cpu.timings["inference"], "the CPU"),
        Row("start and load, cold", "s", cold.timings["start"] + cold.timings["load"]),
    ]
    notes = [f"device {warm.versions['device']}; with {SHORT_MB} MB: {squeezed.versions.get('memory', 'as it was')}"]
    return report("gpu_check", rows, {"device": warm.versions["device"]}, notes=notes)


def _sliding(folder: Path) -> ModelContract:
    write_bundle(folder, BODY)
    file = folder / "configs" / "inference.json"
    configuration = json.loads(file.read_text())
    configuration["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": [64] * 3, "sw_batch_size": WINDOWS}
    file.write_text(json.dumps(configuration))
    return contract_of(folder, memory_mb=16000)


if __name__ == "__main__":
    sys.exit(main())
