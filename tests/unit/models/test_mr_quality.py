"""The quality bundle: what its statistics see, and what its weights are worth on volumes nobody trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bundles import bundle_scripts
from mr_series import STACKS, hippocampus_case, write_stack

from dicom_node.catalogue import load_contract
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Presence
from workers.inference import statements
from workers.inference.pool import HostPool
from workers.inference.volume import load_volume

BUNDLE = Path(__file__).resolve().parents[3] / "models" / "mr_quality"
SPLIT = json.loads((BUNDLE / "configs" / "split.json").read_text(encoding="utf-8"))
CLASSES = ("clean", "motion", "ghosting", "noise", "gibbs", "spikes")


@pytest.fixture(scope="module")
def scripts() -> ModuleType:
    return bundle_scripts(BUNDLE, "artefacts", "network", "statistics", "training")


@pytest.fixture(scope="module")
def contract() -> ModelContract:
    return load_contract(BUNDLE)


@pytest.fixture(scope="module")
def pool() -> Iterator[HostPool]:
    with HostPool("cpu") as opened:
        yield opened


def textured() -> np.ndarray:
    """A bright ball in a dim box with some texture, 31 x 35 x 29; odd, so that k-space is symmetric."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in (31, 35, 29)), indexing="ij")
    smooth = 100 + 400 / (1 + np.exp(12 * (np.sqrt(sum(a**2 for a in axes)) - 0.6)))
    return (smooth + np.random.default_rng(1).normal(0, 10, smooth.shape)).astype(np.float32)


def test_the_split_is_that_of_the_hippocampus() -> None:
    other = BUNDLE.parent / "mr_hippocampus" / "configs" / "split.json"
    assert json.loads(other.read_text(encoding="utf-8")) == SPLIT


def test_scale_and_orientation_change_no_statistic(scripts: ModuleType) -> None:
    import torch

    volume = torch.as_tensor(textured())
    plain = scripts.statistics.statistics(volume)
    assert torch.allclose(scripts.statistics.statistics(volume * 0.01 + 7), plain, atol=1e-2)
    of_axes = slice(len(plain) - 10 - 4 * 26, None)
    for turned in (volume.flip(1), volume.permute(2, 0, 1)):
        assert torch.allclose(scripts.statistics.statistics(turned)[of_axes], plain[of_axes], atol=1e-2)


def test_a_constant_volume_and_one_that_is_too_small(scripts: ModuleType) -> None:
    import torch

    assert torch.isfinite(scripts.statistics.statistics(torch.full((20, 20, 20), 3.0))).all()
    with pytest.raises(ValueError, match="12 voxels or more"):
        scripts.statistics.statistics(torch.zeros(20, 20, 8))


@pytest.mark.parametrize("label", range(1, len(CLASSES)))
def test_artefacts_are_drawn_from_their_seed_and_change_the_image(scripts: ModuleType, label: int) -> None:
    import torch

    image = torch.as_tensor(textured())[None]
    first, again = (scripts.artefacts.spoilt(image, label, np.random.RandomState(3)) for _ in range(2))

    assert torch.equal(first, again)
    assert first.shape == image.shape
    assert float(first.min()) >= 0
    assert float((first - (image - image.min())).abs().mean()) > 1.0


@pytest.mark.data
def test_unseen_volumes_are_told_apart(
    scripts: ModuleType, contract: ModelContract, pool: HostPool, test_data: Path, tmp_path: Path
) -> None:
    """Through DICOM in all orientations: at least nine in ten answers are right."""
    import torch

    right = []
    for number, name in enumerate(SPLIT["test"][:5]):
        image, _, affine = hippocampus_case(test_data, name)
        for label, wanted in enumerate(CLASSES):
            random = np.random.RandomState([11, number, label])
            spoilt = scripts.artefacts.spoilt(torch.as_tensor(image.astype(np.float32))[None], label, random)[0]
            stack = list(STACKS)[(number + label) % len(STACKS)]
            folder = write_stack(spoilt.numpy(), affine, tmp_path / f"{number} {label}", stack)
            volume = load_volume(sorted(folder.iterdir()), minimum_slices=20)
            arrays = pool.run(contract, {"mr": volume}).arrays
            answers = statements.classify(contract, arrays, {})
            right.append([a.name for a in answers if a.presence is Presence.PRESENT] == [wanted])

    assert np.mean(right) >= 0.9
