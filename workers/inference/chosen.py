"""How models are computed on this worker: as ``models optimise`` chose for its device and its version of torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dicom_node.archive.optimised import Choice, Optimised
from dicom_node.errors import ConfigurationError
from workers import device as devices

log = logging.getLogger(__name__)

Chosen = Callable[[str], tuple[Choice, Path | None] | None]  # by digest of the bundle


def kept(data_dir: Path, device: str) -> Optimised:
    """The choices of this device and this version of torch, which is not imported for it."""
    try:
        torch_version = version("torch")
    except PackageNotFoundError:
        torch_version = "none"
    return Optimised(data_dir, devices.words(device), torch_version)


def chosen(data_dir: Path, device: str) -> Chosen:
    """What a pool asks before it starts a host; a file that is damaged is told, and models compute as bundles say."""
    choices = kept(data_dir, device)

    def of(digest: str) -> tuple[Choice, Path | None] | None:
        try:
            choice = choices.get(digest)
        except ConfigurationError as error:
            log.error("models compute as their bundles say: %s", error.message)
            return None
        if choice is None:
            return None
        return choice, choices.exported(choice.options.onnx) if choice.options.onnx else None

    return of
