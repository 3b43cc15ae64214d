"""What a training is given: cases as NIfTI, a split, the command of MONAI's program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from bundles import contract_of, write_bundle
from mr_series import write_stack

from dicom_node.errors import ContractError, InputError
from workers.evaluation import training


def site(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(4)
    (folder / "labels").mkdir(parents=True)
    for number in range(count):
        labels = (rng.random((20, 22, 24)) > 0.7).astype(np.uint8)
        write_stack(labels * 50.0, np.eye(4), folder / "images" / f"case{number}", "sagittal")
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), folder / "labels" / f"case{number}.nii.gz")
    return folder


def test_a_sites_series_become_a_dataset_and_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], Path]] = []

    class Done:
        returncode = 0

    def run(command: list[str], *, cwd: Path, **given: Any) -> Done:
        asked.append((command, cwd))
        return Done()

    monkeypatch.setattr(training.subprocess, "run", run)
    contract = contract_of(write_bundle(tmp_path / "model"), modality="MR")
    with pytest.raises(ContractError, match=r"train\.json"):
        training.train(contract, tmp_path, tmp_path / "out", training.Wish())
    (contract.folder / "configs" / "train.json").write_text("{}")
    with pytest.raises(InputError, match="too few"):
        training.train(contract, site(tmp_path / "few", 2), tmp_path / "few-out", training.Wish())

    assert training.train(contract, site(tmp_path / "site", 6), tmp_path / "out", training.Wish(epochs=3, seed=5)) == 0
    ((command, cwd),) = asked
    assert cwd == contract.folder
    assert command[command.index("--max_epochs") + 1] == "3"
    assert "--patience" not in command
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    assert len(split["training"]) == 5
    assert len(split["validation"]) == 1
    for name in (*split["training"], *split["validation"]):
        image = nibabel.load(tmp_path / "out" / "data" / "images" / f"{name}.nii.gz")
        labels = nibabel.load(tmp_path / "out" / "data" / "labels" / f"{name}.nii.gz")
        assert np.array_equal(np.asarray(labels.dataobj) > 0, np.asarray(image.dataobj) > 25)
        assert np.allclose(image.affine, labels.affine)


def test_cases_that_test_the_model_train_nothing(tmp_path: Path) -> None:
    contract = contract_of(write_bundle(tmp_path / "model"), modality="MR")
    split = {"training": [f"t{n}" for n in range(6)], "validation": ["v1", "v2"], "test": ["x1", "x2"]}
    (contract.folder / "configs" / "split.json").write_text(json.dumps(split))
    names = ["t1", "t3", "v2", "x1"]
    whole = training._split(contract, names, None)
    assert whole == {"training": ["t1", "t3"], "validation": ["v2"], "test": ["x1"]}
    few = training._split(contract, [*split["training"], "x2"], None)  # none of its own validation is among them
    assert few["test"] == ["x2"]
    assert sorted([*few["training"], *few["validation"]]) == split["training"]  # type: ignore[misc]
    assert few["validation"]
    foreign = training._split(contract, [*split["training"], "x1", "new"], None)
    assert foreign["test"] == []
