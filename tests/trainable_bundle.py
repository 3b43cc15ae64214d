"""A bundle that can be trained within seconds: one convolution, on images whose bright voxels are the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bundles import write_bundle

SCRIPTS = """
import json
from pathlib import Path


def cases(folder, split, part):
    names = json.loads(Path(split).read_text())[part]
    return [{k: f"{folder}/{k}s/{name}.nii.gz" for k in ("image", "label")} for name in names]


def latest(folder):
    found = sorted(Path(folder).glob("checkpoint_epoch=*.pt")) if folder else []
    return str(found[-1]) if found else ""
"""
KEYS = ["image", "label"]


def _loaded(part: str) -> dict[str, Any]:
    load = [
        {"_target_": "LoadImaged", "keys": KEYS},
        {"_target_": "EnsureChannelFirstd", "keys": KEYS},
        {"_target_": "ScaleIntensityd", "keys": "image", "minv": -1.0, "maxv": 1.0},
    ]
    data: dict[str, Any] = {"_target_": "Dataset", "data": f"$cases(@dataset_dir, @split_file, '{part}')"}
    return data | {"transform": {"_target_": "Compose", "transforms": load}}


def _loader(of: str) -> dict[str, Any]:
    return {"_target_": "DataLoader", "dataset": f"@{of}#dataset", "batch_size": 1, "num_workers": 0}


TRAIN = {
    "imports": ["$from scripts.split import cases", "$from scripts.split import latest"],
    "bundle_root": ".",
    "dataset_dir": "",
    "split_file": "",
    "output_dir": "",
    "resume_from": "$latest(@output_dir)",
    "start_from": "",
    "seed": 1,
    "max_epochs": 1,
    "patience": 5,
    "device": "$torch.device('cpu')",
    "network_def": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 3, "padding": 1},
    "network": "@network_def",
    "loss": {"_target_": "DiceLoss", "sigmoid": True},
    "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.1},
    "lr_scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@optimizer", "step_size": 50},
    "state": {"network": "@network", "optimizer": "@optimizer", "trainer": "@train#trainer"},
    "train": {
        "dataset": _loaded("training"),
        "dataloader": _loader("train"),
        "inferer": {"_target_": "SimpleInferer"},
        "handlers": [
            {"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler"},
            {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "epoch_level": True, "interval": 1},
        ],
        "trainer": {
            "_target_": "SupervisedTrainer", "device": "@device", "max_epochs": "@max_epochs", "network": "@network",
            "train_data_loader": "@train#dataloader", "loss_function": "@loss", "optimizer": "@optimizer",
            "inferer": "@train#inferer", "train_handlers": "@train#handlers",
        },
    },
    "validate": {
        "dataset": _loaded("validation"),
        "dataloader": _loader("validate"),
        "inferer": {"_target_": "SimpleInferer"},
        "handlers": [{
            "_target_": "CheckpointSaver", "save_dir": "@output_dir", "save_dict": {"model": "@network"},
            "save_key_metric": True, "key_metric_filename": "best.pt",
        }],
        "evaluator": {
            "_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@validate#dataloader",
            "network": "@network", "inferer": "@validate#inferer", "val_handlers": "@validate#handlers",
            "postprocessing": {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.0},
            "key_val_metric": {"dice": {
                "_target_": "MeanDice", "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
            }},
        },
    },
    "saver": {
        "_target_": "CheckpointSaver", "save_dir": "@output_dir", "save_dict": "@state", "save_interval": 1,
        "n_saved": 1,
    },
    "loader": {
        "_target_": "CheckpointLoader", "_disabled_": "$not @resume_from", "load_path": "@resume_from",
        "load_dict": "@state",
    },
    "initialize": ["$monai.utils.set_determinism(seed=@seed)"],
    "run": [
        "$@loader and @loader.attach(@train#trainer)",
        "$@saver.attach(@train#trainer)",
        "$@train#trainer.run()",
    ],
}  # fmt: skip


def trainable_bundle(folder: Path) -> Path:
    """Write it."""
    write_bundle(folder)
    (folder / "scripts" / "split.py").write_text(SCRIPTS)
    (folder / "configs" / "train.json").write_text(json.dumps(TRAIN))
    return folder
