"""Configurations of MONAI Model Zoo bundles as they are published, with random weights: geometry, not accuracy."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from bundles import contract_of, oblique_volume

from dicom_node.domain.contract import ModelContract, Weight
from dicom_node.errors import ContractError
from workers.inference.pool import HostPool

pytestmark = pytest.mark.data


def with_random_weights(source: Path, folder: Path, *, segments: int) -> ModelContract:
    """A copy of a bundle's configuration, and weights that fit its network."""
    import torch
    from monai.bundle import ConfigParser

    shutil.copytree(source, folder)
    file = folder / "models" / "model.pt"
    file.parent.mkdir()
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    torch.manual_seed(0)
    torch.save(parser.get_parsed_content("network_def").state_dict(), file)
    weight = Weight("models/model.pt", hashlib.sha256(file.read_bytes()).hexdigest(), "random")
    return contract_of(folder, segments=segments, memory_mb=6000, time_limit_s=240, weights=(weight,))


@pytest.mark.parametrize(
    ("name", "segments"),
    [("spleen_ct_segmentation", 1), ("ventricular_short_axis_3label", 3), ("wholeBody_ct_segmentation", 104)],
)
def test_a_published_configuration_runs_as_it_is(test_data: Path, tmp_path: Path, name: str, segments: int) -> None:
    contract = with_random_weights(test_data / "bundles" / name, tmp_path / name, segments=segments)
    volume = oblique_volume()

    with HostPool("cpu") as pool:
        first = pool.run(contract, {"image": volume})
        second = pool.run(contract, {"image": volume})

    assert first.label_map.shape == volume.grid.shape
    assert np.array_equal(first.label_map, second.label_map)


def test_a_network_without_its_weights_is_refused(test_data: Path, tmp_path: Path) -> None:
    shutil.copytree(test_data / "bundles" / "classification_template", tmp_path / "classifier")
    contract = contract_of(tmp_path / "classifier", configuration="configs/inference.yaml")

    with HostPool("cpu") as pool, pytest.raises(ContractError, match=r"model\.toml lists none"):
        pool.run(contract, {"image": oblique_volume()})
