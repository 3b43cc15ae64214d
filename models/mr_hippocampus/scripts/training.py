"""What ``configs/train.json`` needs beyond MONAI: weights to start from, a split, the rate of learning, the curve."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events


def cases(dataset_dir: str, split_file: str, part: str) -> list[dict[str, str]]:
    """Image and label files of the ``training``, ``validation`` or ``test`` part of a split."""
    names = json.loads(Path(split_file).read_text(encoding="utf-8"))[part]
    folder = Path(dataset_dir)
    return [{k: str(folder / f"{k}s" / f"{name}.nii.gz") for k in ("image", "label")} for name in names]


def latest(folder: str) -> str:
    """The newest checkpoint in ``folder``, to go on from; empty where there is none."""
    found = sorted(Path(folder).glob("checkpoint_*.pt"), key=os.path.getmtime)
    return str(found[-1]) if found else ""


def bfloat16_pays(device: torch.device) -> bool:
    """Whether the device computes bfloat16 itself; a processor that does not takes fifty times as long for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def started(network: torch.nn.Module, file: str) -> torch.nn.Module:
    """``network`` with the weights in ``file`` (of one network, or an ensemble's first), where there is one.

    Raises:
        RuntimeError: they are the weights of another network.
    """
    if file:
        state = torch.load(file, map_location="cpu", weights_only=True)
        first = {name.removeprefix("members.0."): w for name, w in state.items() if name.startswith("members.0.")}
        network.load_state_dict(first or state)
    return network


def rate(iteration: int, warm: int, cool_from: int, end: int) -> float:
    """Factor of the learning rate: rises for ``warm`` iterations, is 1, falls from ``cool_from`` to 0.02 at ``end``."""
    rising = (iteration + 1) / max(warm, 1)
    falling = 1.0 - 0.98 * (iteration - cool_from) / max(end - cool_from, 1)
    return max(0.02, min(1.0, rising, falling))


class Curve:
    """Handler of the trainer: after each validation by ``evaluator`` appends epoch, loss and Dice to a CSV file."""

    def __init__(self, path: str, evaluator: Engine, interval: int) -> None:
        self.path = Path(path)
        self.evaluator = evaluator
        self.interval = interval

    def attach(self, trainer: Engine) -> None:
        """To be attached after the ``ValidationHandler`` of the same interval."""
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, trainer: Engine) -> None:
        by_class: Any = self.evaluator.state.metrics["dice_by_class"]
        loss = float(trainer.state.output[0]["loss"]) if trainer.state.output else float("nan")
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["epoch", "training_loss", "dice_anterior", "dice_posterior"])
            writer.writerow([trainer.state.epoch, f"{loss:.4f}", *(f"{float(d):.4f}" for d in by_class)])
