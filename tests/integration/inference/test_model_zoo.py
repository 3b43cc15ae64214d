"""Configurations of MONAI Model Zoo bundles as they are published, with random weights: geometry, not accuracy."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import contract_of, oblique_volume

from dicom_node.domain.contract import ModelContract, Weight
from dicom_node.domain.finding import Code, Presence
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.output import Activation, ClassOutput, ClassSpec
from dicom_node.errors import ContractError
from workers.inference.pool import HostPool
from workers.inference.statements import classify
from workers.inference.volume import load_volume

pytestmark = pytest.mark.data


def with_random_weights(source: Path, folder: Path, name: str = "inference.json", **contract: Any) -> ModelContract:
    """A copy of a bundle's configuration, and weights that fit its network."""
    import torch
    from monai.bundle import ConfigParser

    shutil.copytree(source, folder)
    file = folder / "models" / "model.pt"
    file.parent.mkdir()
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / name))
    torch.manual_seed(0)
    torch.save(parser.get_parsed_content("network_def").state_dict(), file)
    weight = Weight("models/model.pt", hashlib.sha256(file.read_bytes()).hexdigest(), "random")
    given = {"memory_mb": 6000, "time_limit_s": 240.0, "weights": (weight,), "configuration": f"configs/{name}"}
    return contract_of(folder, **{**given, **contract})


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


def test_the_classification_template_gives_probabilities_of_an_image(test_data: Path, tmp_path: Path) -> None:
    code = Code("1", "99TEST", "Shape")
    shapes = tuple(ClassSpec(name, code) for name in ("background", "circle", "triangle", "rectangle"))
    output = ClassOutput("shape", "network", shapes, exclusive=True, activation=Activation.SOFTMAX)
    source = test_data / "bundles" / "classification_template"
    contract = with_random_weights(source, tmp_path / "shapes", "inference.yaml", outputs=(output,))
    contract = replace(contract, inputs=(replace(contract.inputs[0], dimensions=2),))
    volume = oblique_volume()
    flat = replace(
        volume,
        array=np.tile(volume.array[:1], (1, 4, 4)),
        grid=VoxelGrid.from_matrix((1, 80, 64), volume.grid.matrix()),
        frames=volume.frames[:1],
        headers=volume.headers[:1],
    )

    with HostPool("cpu") as pool:
        arrays = pool.run(contract, {"image": flat}).arrays

    assert arrays["shape"].shape == (4,)
    assert arrays["shape"].sum() == pytest.approx(1)
    assert sum(found.presence is Presence.PRESENT for found in classify(contract, arrays, {})) == 1


@pytest.mark.parametrize(
    ("series", "name", "segments"),
    [
        ("ct_chest_lungdx_A0002", "spleen_ct_segmentation", 1),
        ("mr_hippocrop_dicom", "ventricular_short_axis_3label", 3),
    ],
)
def test_a_published_configuration_runs_on_a_real_series(
    test_data: Path, tmp_path: Path, series: str, name: str, segments: int
) -> None:
    contract = with_random_weights(test_data / "bundles" / name, tmp_path / name, segments=segments)
    volume = load_volume(sorted((test_data / series).rglob("*.dcm")))

    with HostPool("cpu") as pool:
        found = pool.run(contract, {"image": volume})

    assert found.label_map.shape == volume.grid.shape


def test_a_network_without_its_weights_is_refused(test_data: Path, tmp_path: Path) -> None:
    shutil.copytree(test_data / "bundles" / "classification_template", tmp_path / "classifier")
    contract = contract_of(tmp_path / "classifier", configuration="configs/inference.yaml")

    with HostPool("cpu") as pool, pytest.raises(ContractError, match=r"model\.toml lists none"):
        pool.run(contract, {"image": oblique_volume()})
