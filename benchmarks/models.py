"""What serving costs beside computing: a small classification, and a stream of studies through a warm worker's pool."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bundles import contract_of, oblique_volume, write_bundle

from benchmarks.table import Row, median, report
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Code
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.output import ClassOutput, ClassSpec
from workers.inference.pool import HostPool
from workers.inference.volume import Volume

OVERHEAD_GOAL_S = 0.030
STREAM_GOAL = 0.9
CLASSIFICATIONS = 50
STUDIES = 20
SHAPE = (160, 160, 160)
# About a second of convolutions on two cores, as a small segmentation network has it.
COMPUTE = """weight = torch.ones(8, 1, 3, 3, 3) / 27
        [torch.nn.functional.conv3d(x, weight, padding=1) for _ in range(3)]"""
CLASSIFIER = "return torch.stack([x.mean().sigmoid(), 1 - x.mean().sigmoid()])[None]"


def main() -> int:
    """Overheads of warm hosts; the compute of the same process in the same run is the peer."""
    with tempfile.TemporaryDirectory() as name, HostPool("cpu") as pool:
        small = _classifier(write_bundle(Path(name) / "classifier", CLASSIFIER))
        overheads, _ = _overheads(pool, small, oblique_volume(), CLASSIFICATIONS)
        segmenter = contract_of(write_bundle(Path(name) / "segmenter", COMPUTE), memory_mb=8000)
        extra, computed = _overheads(pool, segmenter, _large(), STUDIES)
        load = pool.run(segmenter, {"image": _large()}).timings
    stream = sum(computed) / (sum(computed) + sum(extra))
    rows = [
        Row("overhead of a small classification, median", "s", median(overheads), goal=OVERHEAD_GOAL_S),
        Row("its 95th percentile", "s", round(float(np.percentile(overheads, 95)), 4)),
        Row(
            f"throughput of {STUDIES} studies in a stream, share of computing alone",
            "",
            round(stream, 3),
            goal=STREAM_GOAL,
            better="more",
        ),
        Row("load of a model at its second study", "s", round(load["load"] + load["start"], 4), goal=0.0),
    ]
    shape = " x ".join(map(str, SHAPE))
    notes = [
        f"overhead: what the worker waits, less pre-processing, inference and post-processing; {CLASSIFICATIONS} runs",
        f"stream: volumes of {shape}, {sum(computed) / STUDIES:.2f} s of computing each, without decoding and encoding",
    ]
    return report("models", rows, {}, notes=notes)


def _classifier(folder: Path) -> ModelContract:
    file = folder / "configs" / "inference.json"
    configuration = json.loads(file.read_text())
    configuration["postprocessing"]["transforms"] = []
    file.write_text(json.dumps(configuration))
    code = Code("1", "99TEST", "Class")
    classes = (ClassSpec("dark", code), ClassSpec("bright", code))
    return contract_of(folder, outputs=(ClassOutput("brightness", "network", classes, exclusive=True),))


def _large() -> Volume:
    small = oblique_volume()
    array = np.random.default_rng(0).normal(0, 300, SHAPE).astype(np.float32)
    frames, headers = (small.frames[0],) * SHAPE[0], small.headers[:1] * SHAPE[0]
    return Volume(array, VoxelGrid.from_matrix(SHAPE, small.grid.matrix()), frames, headers, "HU")


def _overheads(pool: HostPool, contract: ModelContract, volume: Volume, runs: int) -> tuple[list[float], list[float]]:
    """Seconds of each run beyond its computing, and of computing; the first run, which loads, is left out."""
    pool.run(contract, {"image": volume})
    extra, computed = [], []
    for _ in range(runs):
        began = time.perf_counter()
        timings = pool.run(contract, {"image": volume}).timings
        took = time.perf_counter() - began
        computed.append(sum(timings[step] for step in ("preprocessing", "inference", "postprocessing")))
        extra.append(took - computed[-1])
    return extra, computed


if __name__ == "__main__":
    sys.exit(main())
