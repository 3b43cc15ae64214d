"""``python -m scripts.merge models/model.pt MEMBER…``: the trained members become the weights of the ensemble."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from .ensemble import Ensemble


def merge(members: Sequence[Path], out: Path) -> None:
    """Write the state dict of an ensemble of ``members`` (files ``best.pt`` of a training) in half precision.

    Raises:
        RuntimeError: a file holds the weights of another network.
    """
    ensemble = Ensemble(len(members))
    for network, file in zip(ensemble.members, members, strict=True):
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    out.parent.mkdir(parents=True, exist_ok=True)
    halves: dict[int, torch.Tensor] = {}  # MONAI's network names some weights twice; they are stored once
    state = {name: halves.setdefault(w.data_ptr(), w.half()) for name, w in ensemble.state_dict().items()}
    torch.save(state, out)


if __name__ == "__main__":
    merge([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]))
