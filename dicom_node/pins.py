"""Which bundles of the site's own folders a person has looked at: name and digest, in the data directory.

Shipped models need no pin: they are part of the installed software. Node, workers and commands read the same file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.errors import ConfigurationError

FILE = "pinned-models.json"


def read(data_dir: Path) -> Mapping[str, str]:
    """SHA-256 of each pinned model by its name.

    Raises:
        ConfigurationError: the file is damaged.
    """
    file = data_dir / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): str(entry["sha256"]) for name, entry in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}",
            file=file,
            remedy="remove it, and pin the models again: dicom-node models pin NAME",
        ) from error


def write(data_dir: Path, name: str, sha256: str) -> None:
    """Pin a model; the file is replaced as a whole."""
    pinned_at = datetime.now(UTC).isoformat(timespec="seconds")
    entries = {known: {"sha256": digest} for known, digest in read(data_dir).items()}
    entries[name] = {"sha256": sha256, "pinned_at": pinned_at}
    data_dir.mkdir(parents=True, exist_ok=True)
    written = data_dir / f".{FILE}.{os.getpid()}"
    written.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    written.replace(data_dir / FILE)
