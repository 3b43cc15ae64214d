"""Two sites train a small network together, by MONAI's client, and share no images."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundles import contract_of
from trainable_bundle import trainable_bundle

from dicom_node.errors import InputError
from workers.evaluation import federated
from workers.evaluation.federated import Plan
from workers.evaluation.privacy import Privacy
from workers.evaluation.site import packed, unpacked

ROUNDS = 3


def site(folder: Path, seed: int, cases: int = 5) -> Path:
    rng = np.random.default_rng(seed)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number in range(cases):
        labels = (rng.random((8, 8, 8)) > 0.6).astype(np.uint8)
        image = labels * 2.0 - 1 + rng.normal(0, 0.1, labels.shape)
        for part, array in (("images", image.astype(np.float32)), ("labels", labels)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / part / f"{folder.name}-{number}.nii.gz")
    return folder


def test_two_sites_learn_together_what_neither_shows_the_other(tmp_path: Path) -> None:
    contract = contract_of(trainable_bundle(tmp_path / "model"), modality="MR")
    sites = [site(tmp_path / "north", 1), site(tmp_path / "south", 2, cases=6)]
    lines: list[str] = []
    told = federated.train(contract, sites, tmp_path / "out", Plan(ROUNDS, epochs=2, seed=3), lines.append)

    assert told["sites"] == {"site1": 4, "site2": 5}
    assert (told["epsilon"], told["delta"]) == (None, None)
    assert len(told["rounds"]) == ROUNDS
    first, *_, last = [round_["metrics"] for round_ in told["rounds"]]
    assert set(first) == {"site1", "site2"}
    assert all(last[name]["dice"] > first[name]["dice"] for name in first)
    weights = torch.load(told["weights"], weights_only=True)
    assert {name: tuple(w.shape) for name, w in weights.items()} == {"weight": (1, 1, 3, 3, 3), "bias": (1,)}
    assert sum(line.startswith("round ") for line in lines) == ROUNDS
    names = {part: sorted(p.name for p in (tmp_path / "out" / part / "data" / "images").iterdir()) for part in first}
    assert all(name.startswith("north") for name in names["site1"])
    assert all(name.startswith("south") for name in names["site2"])


def test_with_privacy_the_price_is_told(tmp_path: Path) -> None:
    contract = contract_of(trainable_bundle(tmp_path / "model"), modality="MR")
    sites = [site(tmp_path / "north", 1), site(tmp_path / "south", 2)]
    privacy = Privacy(clip=0.5, noise=20.0)
    told = federated.train(contract, sites, tmp_path / "out", Plan(1, seed=3, privacy=privacy))
    assert told["epsilon"] == round(privacy.epsilon(1), 3)
    assert told["delta"] == 1e-5


def test_one_site_is_no_federation(tmp_path: Path) -> None:
    contract = contract_of(trainable_bundle(tmp_path / "model"), modality="MR")
    with pytest.raises(InputError, match="needs two sites"):
        federated.train(contract, [tmp_path], tmp_path / "out", Plan(1))


def test_messages_hold_arrays_and_nothing_that_runs() -> None:
    arrays = {"a.b": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3)}
    back = unpacked(packed(arrays))
    assert back["a.b"].tolist() == arrays["a.b"].tolist()
    assert back["n"] == 3
    file = io.BytesIO()
    np.savez(file, evil=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        unpacked(file.getvalue())
