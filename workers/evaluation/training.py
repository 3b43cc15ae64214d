"""Training by the configuration of a bundle, on cases in a folder: a site's own SEGs beside their series, or NIfTI.

The bundle's ``configs/train.json`` is run as ``python -m monai.bundle run`` would run it. It takes ``dataset_dir``,
``split_file``, ``output_dir``, ``max_epochs``, ``patience``, ``seed`` and ``start_from``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from dicom_node.domain.contract import ModelContract
from dicom_node.errors import ConfigurationError, ContractError, InputError
from workers.evaluation import cases

CONFIGURATION = "configs/train.json"
_FEWEST_CASES = 5
_HELD_BACK = 0.2  # share of the cases for validation
_DEFAULT_SEED = 20261126
# A validation ends once an epoch, the run of MLflow with the training.
_STAYS_OPEN = {"MLFlowHandler": {"close_on_complete": False}}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person may choose about a training; None leaves it to the bundle."""

    epochs: int | None = None
    patience: int | None = None
    seed: int | None = None
    anew: bool = False  # from random weights instead of the model's
    tensorboard: bool = False  # loss and metrics for TensorBoard, below the output folder
    mlflow: str = ""  # and for MLflow: the address of a tracking server, or a file, which becomes a SQLite database


def train(
    contract: ModelContract, folder: Path, out: Path, wish: Wish, told: Callable[[str], None] = lambda line: None
) -> int:
    """Prepare the cases of ``folder`` in ``out``, and train there; returns the exit status of MONAI's program.

    A folder whose names are all in the model's own split is divided as that one is; any other by the seed, a fifth for
    validation. What is in ``out`` already is used: a training that was stopped goes on.

    Raises:
        ContractError: the bundle has no training configuration.
        ConfigurationError: TensorBoard or MLflow is wanted and not installed.
        InputError: there are too few cases, or one cannot be used; names the file.
    """
    check(contract)
    for wanted, module, name in ((wish.tensorboard, "tensorboard", "TensorBoard"), (wish.mlflow, "mlflow", "MLflow")):
        if wanted and find_spec(module) is None:
            raise ConfigurationError(f"{name} is not installed", remedy=f"pip install 'dicom-node[{module}]'")
    split = prepare(contract, folder, out, wish.seed, told)
    command = _command(contract, out, split, wish)
    # Of itself MLflow tells its makers how it is used.
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    return subprocess.run(command, cwd=contract.folder, env=environment, check=False).returncode


def check(contract: ModelContract) -> None:
    """Refuse a bundle that cannot be trained.

    Raises:
        ContractError: it has no training configuration.
    """
    if not (contract.folder / CONFIGURATION).is_file():
        raise ContractError(
            "the bundle cannot be trained: it has no such file",
            file=contract.folder / CONFIGURATION,
            reason="no-training",
        )


def prepare(contract: ModelContract, folder: Path, out: Path, seed: int | None, told: Callable[[str], None]) -> Path:
    """Write the cases of ``folder`` into ``out / "data"``, and how they are divided; returns the file of the split.

    Raises:
        InputError: there are too few cases, or one cannot be used; names the file.
    """
    names = [case.name for case in _prepared(contract, folder, out / "data", told)]
    split = out / "split.json"
    split.write_text(json.dumps(_split(contract, names, seed), indent=1), encoding="utf-8")
    return split


def _prepared(contract: ModelContract, folder: Path, data: Path, told: Callable[[str], None]) -> tuple[cases.Case, ...]:
    """The cases as NIfTI in ``data``, image and truth on one grid."""
    found = cases.find(folder)
    for part in ("images", "labels"):
        (data / part).mkdir(parents=True, exist_ok=True)
    for case in found:
        image, labels = (data / part / f"{case.name}.nii.gz" for part in ("images", "labels"))
        if image.is_file() and labels.is_file():
            continue
        volume = cases.image_of(case, contract)
        truth = cases.truth_of(case, contract, volume.grid)
        affine = volume.grid.ras_affine_whd()
        nibabel.save(nibabel.Nifti1Image(volume.array.T, affine), image)
        nibabel.save(nibabel.Nifti1Image(truth.T, affine), labels)
    told(f"{len(found)} cases in {data}")
    return found


def _split(contract: ModelContract, names: Sequence[str], seed: int | None) -> dict[str, object]:
    """Names for training and validation."""
    own, tested = contract.folder / "configs" / "split.json", list[str]()
    if own.is_file():
        parts = json.loads(own.read_text(encoding="utf-8"))
        parts = {part: [name for name in parts[part] if name in names] for part in ("training", "validation", "test")}
        if set(names) <= {name for part in parts.values() for name in part}:
            if parts["training"] and parts["validation"]:
                return dict(parts)
            tested = parts["test"]  # of a few of its cases the rest is divided; what tests the model never trains it
            names = [name for name in names if name not in tested]
    if len(names) < _FEWEST_CASES:
        raise InputError(
            f"{len(names)} cases are too few to train on",
            reason="too-few-cases",
            remedy=f"at least {_FEWEST_CASES} are needed, a fifth of them to see when to stop",
        )
    order = np.random.default_rng(_DEFAULT_SEED if seed is None else seed).permutation(len(names))
    held = max(1, round(_HELD_BACK * len(names)))
    return {
        "validation": sorted(names[i] for i in order[:held]),
        "training": sorted(names[i] for i in order[held:]),
        "test": tested,
    }


def _tracking(contract: ModelContract, out: Path, wish: Wish) -> Path:
    """A configuration that adds the handlers wished for to those of the bundle."""
    loss = {"tag_name": "loss", "output_transform": "$monai.handlers.from_engine(['loss'], first=True)"}
    metrics = {"iteration_log": False, "output_transform": "$lambda _: None"}
    handlers = ([_of_tensorboard(out)] if wish.tensorboard else []) + (
        [_of_mlflow(contract, out, wish.mlflow)] if wish.mlflow else []
    )
    added: dict[str, list[dict[str, object]]] = {
        "+train#handlers": [{**handler, **loss} for handler in handlers],
        "+validate#handlers": [
            {**handler, **metrics, **_STAYS_OPEN.get(handler["_target_"], {})} for handler in handlers
        ],
    }
    file = out / "tracking.json"
    file.write_text(json.dumps(added, indent=1), encoding="utf-8")
    return file


def _of_tensorboard(out: Path) -> dict[str, Any]:
    return {"_target_": "TensorBoardStatsHandler", "log_dir": str(out / "tensorboard")}


def _of_mlflow(contract: ModelContract, out: Path, where: str) -> dict[str, Any]:
    """One run, named by the output folder, in an experiment named by the model; open until the training ends."""
    return {
        "_target_": "MLFlowHandler",
        "tracking_uri": where if "://" in where else f"sqlite:///{Path(where).resolve()}",
        "experiment_name": contract.name,
        "run_name": out.name,
        "experiment_param": {"version": contract.version, "sha256": contract.digest},
        "close_on_complete": True,
    }


def _command(contract: ModelContract, out: Path, split: Path, wish: Wish) -> list[str]:
    configuration = CONFIGURATION
    if wish.tensorboard or wish.mlflow:
        configuration = json.dumps([CONFIGURATION, str(_tracking(contract, out, wish))])
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", configuration]
    command += ["--dataset_dir", str(out / "data"), "--split_file", str(split), "--output_dir", str(out)]
    for option, value in (("max_epochs", wish.epochs), ("patience", wish.patience), ("seed", wish.seed)):
        if value is not None:
            command += [f"--{option}", str(value)]
    if contract.weights and not wish.anew:
        command += ["--start_from", str(contract.folder / contract.weights[0].path)]
    return command
