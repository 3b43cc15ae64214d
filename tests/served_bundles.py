"""Bundles of ``tests/bundles.py`` with what the catalogue asks for beside them: contract, metadata, licence."""

from __future__ import annotations

import json
from pathlib import Path

from bundles import write_bundle

from dicom_node.catalogue import METADATA_KEYS

TISSUE = '{ CodeValue = "85756007", CodingSchemeDesignator = "SCT", CodeMeaning = "Tissue" }'
CONTRACT = """
[model]
name = "{name}"
version = "1.0.0"
title = "Model of the tests"
manufacturer = "tests"
task = "segmentation"
status = "research"
configuration = "configs/inference.json"
intended_use = "Tests of the node around it."
limits = ["Not a model."]

[[inputs]]
name = "image"
modality = "MR"
minimum_slices = {slices}
prefer = ["smallest SliceThickness"]

[[segments]]
name = "bright"
labelID = 1
SegmentLabel = "Bright"
recommendedDisplayRGBValue = [255, 0, 0]
SegmentedPropertyCategoryCodeSequence = {tissue}
SegmentedPropertyTypeCodeSequence = {tissue}

[[measurements]]
name = "volume"
kind = "volume"
of = [["bright"]]

[resources]
time_limit_s = {time_limit_s}
memory_mb = {memory_mb}
"""


def serve_bundle(
    folder: Path, body: str = "pass", *, slices: int = 3, time_limit_s: float = 60.0, memory_mb: int = 1500
) -> str:
    """Write a bundle for MR whose network runs the statements ``body`` first; the name it is served under."""
    write_bundle(folder, body)
    name = folder.name
    contract = CONTRACT.format(name=name, slices=slices, time_limit_s=time_limit_s, memory_mb=memory_mb, tissue=TISSUE)
    (folder / "model.toml").write_text(contract)
    (folder / "LICENSE").write_text("Public domain.\n")
    metadata = dict.fromkeys(METADATA_KEYS, "tests") | {"version": "1.0.0", "network_data_format": {}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return name
