"""On a real card: does a bundle give the same there as on the CPU, how fast, and what happens where memory is short?

Also: mixed precision, maps of what an answer rests on, samples for uncertainty, what ``models optimise`` keeps, and
whether studies are decoded while the card computes.

Exit status: 0 all is well, 1 something is not, or there is no card, so that nothing was checked.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundles import contract_of, oblique_volume, write_bundle
from explained_bundle import serve_explained

from benchmarks import stream
from benchmarks.models import _large
from benchmarks.studies import chest_ct
from benchmarks.table import Row, report
from dicom_node.catalogue import load_contract
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.output import ExplanationSpec, MapMethod, SampleMethod, UncertaintySpec
from workers.evaluation.optimise import WITHIN, optimise
from workers.inference.chosen import kept
from workers.inference.pool import HostPool, ModelOutput
from workers.inference.volume import Volume

SAME_GOAL = 0.999
MIXED_GOAL = 0.99  # bfloat16 and float16 have three digits
ALIKE_GOAL = 0.99  # correlation of maps
WINDOWS = 64
STUDIES = 6
# Sixteen smoothing channels, so that windows cost memory; their mean is smoothed again.
BODY = """weight = torch.full((16, 1, 5, 5, 5), 1 / 125, device=x.device)
        x = torch.nn.functional.conv3d(x, weight, padding=2).mean(1, keepdim=True)"""
SHORT_MB = 1500


def main() -> int:
    """The checks, as a table."""
    if not torch.cuda.is_available():
        print("there is no GPU that torch can use here: nothing was checked")
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, memory = in_windows("cuda", folder, _large())
        rows += options("cuda", folder)
        rows += optimised("cuda", folder)
        images, _ = chest_ct(folder / "phantom")
        rows += stream.streamed(folder / "stream", images, "the card", stream.PROCESSOR, None, STUDIES, "cuda")
    device = torch.cuda.get_device_name()
    return report("gpu_check", rows, {"device": device}, notes=[f"device {device}; with {SHORT_MB} MB: {memory}"])


def in_windows(device: str, folder: Path, volume: Volume) -> tuple[list[Row], str]:
    """A sliding window on the device, with little memory too, beside the CPU; and what little memory led to."""
    contract = _sliding(folder / "smooth")
    given = {"image": volume}
    with HostPool("cpu") as pool:
        on_cpu = pool.run(contract, given)
    with HostPool(device) as pool:
        cold = pool.run(contract, given)
        warm = pool.run(contract, given)
    resources = replace(contract.resources, gpu_memory_mb=SHORT_MB)
    with HostPool(device) as pool:
        squeezed = pool.run(replace(contract, resources=resources, digest="with little memory"), given)
    same = float(np.mean(on_cpu.label_map == warm.label_map))
    still = float(np.mean(on_cpu.label_map == squeezed.label_map))
    rows = [
        Row("voxels labelled as on the CPU", "", round(same, 6), goal=SAME_GOAL, better="more"),
        Row("the same with little memory", "", round(still, 6), goal=SAME_GOAL, better="more"),
        Row("inference, warm", "s", warm.timings["inference"], on_cpu.timings["inference"], "the CPU"),
        Row("start and load, cold", "s", cold.timings["start"] + cold.timings["load"]),
    ]
    return rows, squeezed.versions.get("memory", "as it was")


def options(device: str, folder: Path) -> list[Row]:
    """Mixed precision, mirror images and maps on the device, beside the CPU in full precision."""
    volume = oblique_volume()
    bright = replace(volume, array=np.abs(volume.array) / 300)
    mixed = _plain(folder / "mixed", evaluator={"amp": True})
    views = replace(_plain(folder / "views"), uncertainty=UncertaintySpec(SampleMethod.VIEWS, flips=("W", "HD")))
    explained = load_contract(folder / serve_explained(folder / "explained"))
    hidden = ExplanationSpec("quality", MapMethod.OCCLUSION, window=4)
    with HostPool("cpu") as ours, HostPool(device) as theirs:

        def both(contract: ModelContract, given: Mapping[str, Volume]) -> tuple[ModelOutput, ModelOutput]:
            return ours.run(contract, given), theirs.run(contract, given)

        one, other = both(mixed, {"image": volume})
        precise = float(np.mean(one.label_map == other.label_map))
        sampled = both(views, {"image": volume})
        layers = [np.stack([sample["segmentation"] for sample in each.samples]) for each in sampled]
        found = [
            both(contract, {"image": bright})
            for contract in (explained, replace(explained, explanation=hidden, digest="by occlusion"))
        ]
    maps = [tuple(each.arrays["quality/explanation"].ravel() for each in pair) for pair in found]
    alike = [float(np.corrcoef(*pair)[0, 1]) for pair in maps]
    return [
        Row("mixed precision: voxels labelled as in full", "", round(precise, 6), goal=MIXED_GOAL, better="more"),
        Row("mirror images: voxels of samples as on the CPU", "", round(float(np.mean(layers[0] == layers[1])), 6),
            goal=SAME_GOAL, better="more"),
        Row("Grad-CAM: correlation with the CPU's map", "", round(alike[0], 6), goal=ALIKE_GOAL, better="more"),
        Row("occlusion: correlation with the CPU's map", "", round(alike[1], 6), goal=ALIKE_GOAL, better="more"),
    ]  # fmt: skip


def optimised(device: str, folder: Path) -> list[Row]:
    """What ``models optimise`` keeps of its options on the device."""
    folder.mkdir(parents=True, exist_ok=True)
    told = optimise(_sliding(folder / "optimised", amp=True), None, kept(folder, device), device=device)
    agreement, seconds, plain = (float(told[name]) for name in ("agreement", "seconds", "plain_seconds"))
    return [
        Row(f"optimised ({told['options']}): agreement", "", agreement, goal=WITHIN, better="more"),
        Row("  inference", "s", seconds, plain, "the bundle as it is"),
    ]


def _plain(folder: Path, **configuration: Any) -> ModelContract:
    """A bundle that marks what is bright once it is smoothed; the mean of its views is cut at a half."""
    write_bundle(folder, BODY)
    file = folder / "configs" / "inference.json"
    told = json.loads(file.read_text()) | configuration
    told["postprocessing"]["transforms"].insert(0, {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5})
    file.write_text(json.dumps(told))
    return contract_of(folder, memory_mb=16000)


def _sliding(folder: Path, *, amp: bool = False) -> ModelContract:
    write_bundle(folder, BODY)
    file = folder / "configs" / "inference.json"
    configuration = json.loads(file.read_text()) | {"evaluator": {"amp": amp}}
    configuration["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": [64] * 3, "sw_batch_size": WINDOWS}
    file.write_text(json.dumps(configuration))
    return contract_of(folder, memory_mb=16000)


if __name__ == "__main__":
    sys.exit(main())
