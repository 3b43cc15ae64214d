"""How models compute faster on this machine: what was measured, and kept. One small file in the data directory.

Written by ``models optimise``, read by workers. An entry holds for one content of a bundle, one device and one version
of torch; with another of these it is not used, and that is told.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dicom_node.errors import ConfigurationError

log = logging.getLogger(__name__)

FILE = "optimised.json"
FOLDER = "optimised"  # exported networks, each named by its SHA-256


@dataclass(frozen=True, slots=True)
class Options:
    """How networks are computed; each default is as the bundle says."""

    channels_last: bool = False  # layout of tensors in memory
    windows: int | None = None  # of a sliding window, at a time
    bfloat16: bool = False
    int8: bool = False  # weights of linear layers
    compiled: bool = False  # by torch.compile
    onnx: str = ""  # SHA-256 of the exported network that ONNX Runtime computes

    def __str__(self) -> str:
        told = {
            "channels last": self.channels_last,
            f"{self.windows} windows at a time": self.windows is not None,
            "bfloat16": self.bfloat16,
            "int8 in linear layers": self.int8,
            "torch.compile": self.compiled,
            "ONNX Runtime": bool(self.onnx),
        }
        return ", ".join(words for words, chosen in told.items() if chosen) or "as the bundle says"


@dataclass(frozen=True, slots=True)
class Choice:
    """Options that were measured beside the bundle as it is, on the same cases in the same run."""

    model: str
    options: Options
    within: float  # the least agreement that was allowed
    agreement: float  # the least of any case with the plain result: Dice of masks, 1 - largest difference of numbers
    seconds: float  # of inference, median of the cases
    plain_seconds: float
    cases: int
    at: str  # ISO 8601, UTC
    tried: tuple[Mapping[str, Any], ...] = field(default=())  # options, seconds, agreement, kept, why

    @property
    def faster(self) -> float:
        """Times as fast as the bundle as it is."""
        return self.plain_seconds / self.seconds

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` tells it: ``options`` in words, and ``settings``."""
        return {**asdict(self), "options": str(self.options), "settings": asdict(self.options), "faster": self.faster}

    def __str__(self) -> str:
        return (
            f"{self.options}: {self.faster:.2f} times as fast, agreement {self.agreement:.4f} "
            f"on {self.cases} case(s), measured {self.at[:10]}"
        )


class Optimised:
    """The file, for one device and version of torch."""

    def __init__(self, data_dir: Path, device: str, torch_version: str) -> None:
        """``device``: kind and name of the processor or card, in words."""
        self._file = data_dir / FILE
        self._folder = data_dir / FOLDER
        self._here = f"{device}, torch {torch_version}"

    def get(self, digest: str) -> Choice | None:
        """What was chosen for this bundle here; None: nothing, or on another device or torch, or its file is gone.

        Raises:
            ConfigurationError: the file is damaged.
        """
        of_bundle = read(self._file.parent).get(digest, {})
        choice = of_bundle.get(self._here)
        if choice is None:
            if of_bundle:
                log.warning(
                    "%s was optimised on %s, not on %s: it computes as its bundle says; dicom-node models optimise %s",
                    next(iter(of_bundle.values())).model, " and ".join(of_bundle), self._here,
                    next(iter(of_bundle.values())).model,
                )  # fmt: skip
            return None
        if choice.options.onnx and not self.exported(choice.options.onnx).is_file():
            log.warning("%s: its exported network is gone; it computes as its bundle says", choice.model)
            return None
        return choice

    def put(self, digest: str, choice: Choice) -> None:
        """Keep a choice."""
        held = read(self._file.parent)
        held.setdefault(digest, {})[self._here] = choice
        self._write(held)

    def forget(self, digest: str) -> bool:
        """Drop what was chosen for this bundle, on any device; whether there was something."""
        held = read(self._file.parent)
        dropped = held.pop(digest, None)
        self._write(held)
        self.tidy()
        return dropped is not None

    def tidy(self) -> None:
        """Remove exported networks that no choice names."""
        held = read(self._file.parent)
        kept = {choice.options.onnx for of_bundle in held.values() for choice in of_bundle.values()}
        for file in self._folder.glob("*.onnx"):
            if file.stem not in kept:
                file.unlink(missing_ok=True)

    def exported(self, sha256: str) -> Path:
        """Where the exported network of this content stands."""
        return self._folder / f"{sha256}.onnx"

    def _write(self, held: Mapping[str, Mapping[str, Choice]]) -> None:
        told = {digest: {where: asdict(c) for where, c in of.items()} for digest, of in held.items()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_name(f".{FILE}.{uuid.uuid4().hex}")
        part.write_text(json.dumps(told, indent=1), encoding="utf-8")
        part.replace(self._file)


def read(data_dir: Path) -> dict[str, dict[str, Choice]]:
    """All choices: digest of a bundle → device and version of torch → choice.

    Raises:
        ConfigurationError: the file is damaged.
    """
    file = data_dir / FILE
    try:
        told = json.loads(file.read_bytes())
        return {
            str(digest): {
                str(where): Choice(**{**entry, "options": Options(**entry["options"]), "tried": tuple(entry["tried"])})
                for where, entry in of_bundle.items()
            }
            for digest, of_bundle in told.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}", file=file, remedy="remove it, and run dicom-node models optimise again"
        ) from error
