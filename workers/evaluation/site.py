"""One site of a federated training: a process that keeps its cases, and gives away updates of weights alone.

MONAI's ``MonaiAlgo`` trains by the configuration of the bundle, as it does below Flower or NVFlare. Messages are JSON,
and arrays NPZ without pickles: what a site gets from outside is never run.
"""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.evaluation.privacy import Privacy, Weights, privatised

CONFIGURATION = "configs/train.json"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a site trains, and how."""

    name: str
    bundle: Path
    data: Path  # images and labels, as NIfTI
    split: Path
    out: Path
    epochs: int  # of each round
    start_from: Path | None
    seed: int | None
    privacy: Privacy | None


def serve(site: Site, connection: Connection) -> None:
    """Train a round for each set of weights that comes, and answer with the update; until the connection closes.

    First the weights to begin with are sent.
    """
    os.chdir(site.bundle)
    sys.path.insert(0, str(site.bundle))  # its scripts
    import torch
    from monai.fl.client import MonaiAlgo
    from monai.fl.utils.constants import ExtraItems
    from monai.fl.utils.exchange_object import ExchangeObject

    given: dict[str, Any] = {
        "dataset_dir": str(site.data),
        "split_file": str(site.split),
        "output_dir": str(site.out),
        "resume_from": "",
        "start_from": str(site.start_from or ""),
    }
    if site.seed is not None:
        given["seed"] = site.seed
    configuration = json.loads((site.bundle / CONFIGURATION).read_text(encoding="utf-8"))
    if "lr_scheduler" in configuration:  # it is planned for one training without a break
        constant = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@optimizer", "factor": 1.0}
        given["lr_scheduler"] = constant
    algorithm = MonaiAlgo(
        str(site.bundle),
        local_epochs=site.epochs,
        config_train_filename=CONFIGURATION,
        train_kwargs=dict(given),
        config_evaluate_filename=[CONFIGURATION],
        eval_kwargs=dict(given),
    )
    algorithm.initialize({ExtraItems.CLIENT_NAME: site.name})
    connection.send_bytes(packed({name: w.numpy() for name, w in algorithm.trainer.network.state_dict().items()}))
    while message := _received(connection):
        weights = {name: torch.from_numpy(array) for name, array in unpacked(message).items()}
        told = algorithm.evaluate(ExchangeObject(weights=weights))
        algorithm.train(ExchangeObject(weights=weights))
        update = {
            name: change.numpy().astype(np.float32)
            for name, change in algorithm.get_weights().weights.items()
            if change.is_floating_point()
        }
        if not all(np.isfinite(change).all() for change in update.values()):
            raise ValueError(f"the update of {site.name} holds values that are no finite numbers")
        connection.send_bytes(json.dumps({"metrics": _numbers(told.metrics or {})}).encode())
        connection.send_bytes(packed(privatised(update, site.privacy) if site.privacy else update))
    algorithm.finalize()


def packed(arrays: Weights) -> bytes:
    """Arrays as NPZ."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpacked(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an NPZ; no objects.

    Raises:
        ValueError: it is none, or holds objects.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _received(connection: Connection) -> bytes:
    try:
        return connection.recv_bytes()
    except EOFError:
        return b""


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in metrics.items() if isinstance(value, int | float)}
