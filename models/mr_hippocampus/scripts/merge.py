"""``python -m scripts.merge models/model.pt MEMBER…``: the trained members become the weights of the ensemble."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from .ensemble import Ensemble
from .network import fold_of


def merge(members: Sequence[Path], out: Path) -> None:
    """Write the state dict of an ensemble of ``members`` (files ``best.pt`` of a training) in half precision.

    Raises:
        RuntimeError: a file holds the weights of another network.
    """
    states = [torch.load(file, map_location="cpu", weights_only=True) for file in members]
    ensemble = Ensemble([fold_of(state) for state in states])
    for network, state in zip(ensemble.members, states, strict=True):
        network.load_state_dict(state)
    out.parent.mkdir(parents=True, exist_ok=True)
    halves: dict[int, torch.Tensor] = {}  # MONAI's network names some weights twice; they are stored once
    stored = {name: halves.setdefault(w.data_ptr(), w.half()) for name, w in ensemble.state_dict().items()}
    torch.save(stored, out)


if __name__ == "__main__":
    merge([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]))
