"""What ``configs/train.json`` needs beyond MONAI: statistics of spoilt images, the curve, and the merged ensemble.

python -m scripts.training merge models/model.pt OUT/1 OUT/2 …
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from ignite.engine import Engine, Events

from .artefacts import CLASSES, spoilt, varied
from .network import QualityNet
from .statistics import statistics


def samples(
    dataset_dir: str, split_file: str, part: str, draws: int, seed: int, keep: str = ""
) -> list[dict[str, Any]]:
    """Statistics of every image of a part of the split, ``draws`` times in each class, each time varied anew.

    With ``draws`` 0 each image comes once in each class, as it is. What was computed is kept in the file ``keep``.
    """
    file = Path(keep) if keep else None
    if file and file.is_file():
        kept = torch.load(file, weights_only=True)
        return [
            {"image": row, "label": label} for row, label in zip(kept["image"], kept["label"].tolist(), strict=True)
        ]
    found: list[dict[str, Any]] = []
    for number, name in enumerate(json.loads(Path(split_file).read_text(encoding="utf-8"))[part]):
        values = np.asarray(nibabel.load(Path(dataset_dir) / "images" / f"{name}.nii.gz").dataobj, dtype=np.float32)
        image = torch.as_tensor(values)[None]
        for label in range(len(CLASSES)):
            for draw in range(max(draws, 1)):
                random = np.random.RandomState([seed, number, label, draw])
                given = varied(image, random) if draws and draw else image
                found.append({"image": statistics(spoilt(given, label, random)[0]), "label": label})
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"image": stacked(found), "label": torch.tensor([each["label"] for each in found])}, file)
    return found


def stacked(found: Sequence[dict[str, Any]]) -> torch.Tensor:
    """Statistics of samples as one tensor (n, COUNT)."""
    return torch.stack([each["image"] for each in found])


def scaled(network: QualityNet, found: Sequence[dict[str, Any]]) -> QualityNet:
    """``network`` with the scale of these samples."""
    network.fit_scale(stacked(found))
    return network


class Curve:
    """Handler of the trainer: after each validation by ``evaluator`` appends epoch, loss and AUC to a CSV file."""

    def __init__(self, path: str, evaluator: Engine, interval: int) -> None:
        self.path = Path(path)
        self.evaluator = evaluator
        self.interval = interval

    def attach(self, trainer: Engine) -> None:
        """To be attached after the ``ValidationHandler`` of the same interval."""
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, trainer: Engine) -> None:
        loss = float(trainer.state.output[0]["loss"]) if trainer.state.output else float("nan")
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["epoch", "training_loss", "macro_auc"])
            writer.writerow([trainer.state.epoch, f"{loss:.4f}", f"{self.evaluator.state.metrics['auc']:.4f}"])


def merge(members: Sequence[Path], out: Path) -> None:
    """Write the state dict of an ensemble of trained members (files ``best.pt``), which share their scale.

    Raises:
        ValueError: they were trained on other samples than the first.
        RuntimeError: a file holds the weights of another network.
    """
    states = [torch.load(file, map_location="cpu", weights_only=True) for file in members]
    ensemble = QualityNet(len(CLASSES), len(members))
    merged = {key: states[0][key] for key in ("mean", "scale")}
    for number, state in enumerate(states):
        if any(not torch.equal(state[key], merged[key]) for key in ("mean", "scale")):
            raise ValueError(f"{members[number]}: was trained on other samples than {members[0]}")
        own = {key.removeprefix("members.0."): weight for key, weight in state.items() if key.startswith("members.0.")}
        merged |= {f"members.{number}.{key}": weight for key, weight in own.items()}
    ensemble.load_state_dict(merged)
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(ensemble.state_dict(), out)


if __name__ == "__main__":
    merge([Path(name) / "best.pt" for name in sys.argv[3:]], Path(sys.argv[2]))
