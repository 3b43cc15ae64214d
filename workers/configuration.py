"""The settings of a worker process."""

from __future__ import annotations

import os
from pathlib import Path

from dicom_node import logs
from dicom_node.archive.places import Places
from dicom_node.settings import Settings, load

CONFIGURATION_VARIABLE = "DICOM_NODE_CONFIG"
DEVICE_VARIABLE = "DICOM_NODE_DEVICE"


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


def log_to(settings: Settings, process: str = "worker") -> None:
    """Log to the terminal and to a file of this process and device."""
    name = f"{process}-{device().replace(':', '')}"
    logs.configure(name, file=Places(settings.node.data_dir).logs / f"{name}.jsonl")
