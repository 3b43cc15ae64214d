from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dicom_node.bundle_draft import draft
from dicom_node.contract_file import read
from dicom_node.errors import ContractError


def drafted(folder: Path, data: dict[str, Any]) -> tuple[str, Path]:
    bundle = folder / "Liver-Model"
    (bundle / "configs").mkdir(parents=True)
    metadata = {"version": "1.2.3", "name": 'Liver "CT"', "authors": "Somebody", "network_data_format": data}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    text = draft(bundle, "configs/inference.json", [("models/model.pt", "0" * 64, "https://example.org/model.pt")])
    (bundle / "model.toml").write_text(text)
    return text, bundle / "model.toml"


IMAGE = {"image": {"modality": "MRI", "num_channels": 4, "spatial_shape": [96, 96, 96]}}
SEGMENTS = {"pred": {"type": "image", "format": "segmentation", "channel_def": {"0": "background", "1": "liver"}}}
CLASSES = {"pred": {"type": "probabilities", "format": "classes", "channel_def": {"0": "A", "1": "B"}}}


@pytest.mark.parametrize(
    ("outputs", "table"),
    [(SEGMENTS, "segments"), (CLASSES, "outputs")],
)
def test_what_metadata_tells_is_there_and_the_rest_must_be_filled_in(
    tmp_path: Path, outputs: dict[str, Any], table: str
) -> None:
    text, file = drafted(tmp_path, {"inputs": IMAGE, "outputs": outputs})
    told = tomllib.loads(text)

    assert told["model"]["name"] == "liver_model"
    assert told["model"]["title"] == 'Liver "CT"'
    assert told["inputs"][0]["modality"] == "MR"
    assert "4 channels: one [[inputs]] for each series" in text
    assert told[table]
    assert told["weights"][0]["sha256"] == "0" * 64
    with pytest.raises(ContractError, match="draft is not filled in") as caught:
        read(file)
    assert caught.value.line == 1 + [line.partition("#")[0].find("FILL IN") > 0 for line in text.splitlines()].index(
        True
    )
    file.write_text(text.replace("FILL IN", "filled in"))
    assert read(file).model.version == "1.2.3"


@pytest.mark.parametrize(
    "data", [{}, {"inputs": {}, "outputs": {}}, {"inputs": {"image": {}}, "outputs": {"pred": {}}}]
)
def test_metadata_that_tells_nothing_makes_a_draft_all_the_same(tmp_path: Path, data: dict[str, Any]) -> None:
    assert tomllib.loads(drafted(tmp_path, data)[0])["inputs"][0]["name"] == "image"
