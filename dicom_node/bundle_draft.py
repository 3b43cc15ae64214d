"""A draft of ``model.toml`` from a bundle's ``metadata.json``, which says less than results need, and not always truly.

What a person must decide stands there as ``FILL IN``; a contract that still holds it is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dicom_node.contract_file import FILL_IN

_MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PET": "PT", "PT": "PT", "CXR": "DX", "X-RAY": "DX", "MG": "MG"}
_MODALITIES |= {"MAMMOGRAM": "MG", "US": "US", "ULTRASOUND": "US"}
_CODE = f'{{ CodeValue = "{FILL_IN}", CodingSchemeDesignator = "SCT", CodeMeaning = "{FILL_IN}" }}'


def draft(folder: Path, configuration: str, weights: Sequence[tuple[str, str, str]]) -> str:
    """The text of a draft; ``weights`` are path, SHA-256 and source of each file."""
    metadata = json.loads((folder / "configs/metadata.json").read_text(encoding="utf-8"))
    data = metadata.get("network_data_format") or {}
    inputs, outputs = data.get("inputs") or {}, data.get("outputs") or {}
    output: Mapping[str, Any] = next(iter(outputs.values()), {})
    classifies = output.get("type") == "probabilities" or output.get("format") == "classes"
    named = {int(number): str(what) for number, what in (output.get("channel_def") or {}).items()}
    lines = [
        *_model(folder, metadata, configuration, "classification" if classifies else "segmentation"),
        *(line for name, told in (inputs or {"image": {}}).items() for line in _input(name, told)),
        *(_classes(named) if classifies else _segments(named)),
        "[resources]",
        "time_limit_s = 600.0",
        "memory_mb = 8192",
        "",
        *(line for weight in weights for line in _weight(*weight)),
    ]
    return "\n".join(lines)


def _text(value: object, longest: int = 1000) -> str:
    return json.dumps(" ".join(str(value).split())[:longest], ensure_ascii=False)


def _identifier(text: object) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_")
    return name if name[:1].isalpha() else f"n{name}"


def _model(folder: Path, metadata: Mapping[str, Any], configuration: str, task: str) -> list[str]:
    return [
        f"# Drafted from configs/metadata.json. Decide on every {FILL_IN}, and check the rest against the paper.",
        "[model]",
        f"name = {_text(_identifier(folder.name), 64)}",
        f"version = {_text(metadata.get('version', '0.0.0'))}",
        f"title = {_text(metadata.get('name') or folder.name, 64)}",
        f"manufacturer = {_text(metadata.get('authors') or FILL_IN, 64)}",
        f'task = "{task}"',
        'status = "research"',
        f'configuration = "{configuration}"',
        f"intended_use = {_text(metadata.get('intended_use') or FILL_IN)}",
        f'limits = ["{FILL_IN}"]  # whom and what it was not trained or tried on',
        "",
    ]


def _input(name: str, told: Mapping[str, Any]) -> list[str]:
    modality = _MODALITIES.get(str(told.get("modality", "")).upper(), FILL_IN)
    flat = len(told.get("spatial_shape") or (0, 0, 0)) == 2
    channels = int(told.get("num_channels") or 1)
    several = f"  # {channels} channels: one [[inputs]] for each series that the preprocessing joins"
    return [
        "[[inputs]]" + (several if channels > 1 else ""),
        f'name = "{_identifier(name)}"',
        f'modality = "{modality}"',
        f"minimum_slices = {1 if flat else 10}",
        *(["dimensions = 2"] if flat else []),
        f"conditions = ['SeriesDescription == \"{FILL_IN}\"']  # which series it was trained for",
        'prefer = ["smallest SliceThickness", "largest instances"]',
        "",
    ]


def _segments(named: Mapping[int, str]) -> list[str]:
    lines = []
    for number, what in sorted(named.items()):
        if number == 0:
            continue
        shade = [(number * step) % 200 + 55 for step in (97, 57, 23)]
        lines += [
            "[[segments]]",
            f'name = "{_identifier(what)}"',
            f"labelID = {number}",
            f"SegmentLabel = {_text(what, 64)}",
            f"recommendedDisplayRGBValue = {shade}",
            f"SegmentedPropertyCategoryCodeSequence = {_CODE}",
            f"SegmentedPropertyTypeCodeSequence = {_CODE}",
            "",
        ]
    return lines


def _classes(named: Mapping[int, str]) -> list[str]:
    lines = [
        "[[outputs]]",
        'name = "classes"',
        'kind = "classes"',
        'key = "network"  # what the network returned; "pred": what the postprocessing makes of it',
        "exclusive = true",
        'activation = "softmax"',
        "",
    ]
    for _, what in sorted(named.items()):
        lines += ["[[outputs.classes]]", f'name = "{_identifier(what)}"', f"concept = {_CODE}", ""]
    return lines


def _weight(path: str, sha256: str, source: str) -> list[str]:
    return ["[[weights]]", f"path = {_text(path)}", f'sha256 = "{sha256}"', f"source = {_text(source or FILL_IN)}", ""]
