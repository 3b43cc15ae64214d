"""The settings of a worker process."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dicom_node import logs
from dicom_node.archive.places import Places
from dicom_node.domain.fitness import Abilities
from dicom_node.errors import ConfigurationError
from dicom_node.settings import LABEL_PATTERN, Settings, load
from workers import device as devices

CONFIGURATION_VARIABLE = "DICOM_NODE_CONFIG"
DEVICE_VARIABLE = "DICOM_NODE_DEVICE"
LABELS_VARIABLE = "DICOM_NODE_LABELS"


def read_settings() -> Settings:
    """The settings of the file that ``DICOM_NODE_CONFIG`` names, else of ``dicom-node.toml`` here.

    Raises:
        ConfigurationError: with file, line and key.
    """
    file = os.environ.get(CONFIGURATION_VARIABLE)
    return load(Path(file) if file else None).settings


def device() -> str:
    """The device this worker runs models on: auto, cpu, cuda:0 …"""
    return os.environ.get(DEVICE_VARIABLE, "auto")


def abilities(settings: Settings, device: str) -> Abilities:
    """What this worker has: the memory of its GPU, and its labels, among them what kind of device it runs on.

    Raises:
        ConfigurationError: a label or the device is not one.
    """
    kind = "cpu" if devices.settled(device) == "cpu" else "gpu"
    given = [label for label in os.environ.get(LABELS_VARIABLE, "").split(",") if label]
    for label in given:
        if not re.fullmatch(LABEL_PATTERN, label):
            raise ConfigurationError(
                f"{label!r} is no label", key="--labels", remedy="use letters, digits, '.', '_' and '-'; commas between"
            )
    labels = frozenset((kind, *settings.worker.labels, *given))
    return Abilities(devices.gpu_memory_mb(device) if kind == "gpu" else None, labels)


def log_to(settings: Settings, process: str = "worker") -> None:
    """Log to the terminal and to a file of this process and device."""
    name = f"{process}-{device().replace(':', '')}"
    logs.configure(name, file=Places(settings.node.data_dir).logs / f"{name}.jsonl")
