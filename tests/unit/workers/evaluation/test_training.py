"""What a training is given: cases as NIfTI, a split, the command of MONAI's program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from bundles import contract_of, write_bundle
from mr_series import write_stack
from trainable_bundle import trainable_bundle

from dicom_node.errors import ContractError, InputError
from workers.evaluation import training
from workers.inference.volume import load_volume


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


def test_handlers_that_log_are_added_to_those_of_the_bundle(tmp_path: Path) -> None:
    from monai.bundle import ConfigParser

    contract = contract_of(write_bundle(tmp_path / "model"))
    bundle = contract.folder / "configs" / "train.json"
    bundle.write_text(json.dumps({"train": {"handlers": ["@ema"]}, "validate": {"handlers": []}}))
    wish = training.Wish(tensorboard=True, mlflow="https://mlflow.example.org")
    merged = ConfigParser.load_config_files([bundle, training._tracking(contract, tmp_path, wish)])
    assert [len(merged[part]["handlers"]) for part in ("train", "validate")] == [3, 2]
    assert merged["train"]["handlers"][0] == "@ema"
    board, flow = merged["validate"]["handlers"]
    assert board["log_dir"] == str(tmp_path / "tensorboard")
    assert (flow["tracking_uri"], flow["close_on_complete"]) == ("https://mlflow.example.org", False)


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


def segmented(folder: Path, count: int, contract: Any) -> Path:
    """A site's own studies: series as DICOM, and SEGs that were drawn on them."""
    import highdicom as hd
    from pydicom import dcmread
    from pydicom.uid import generate_uid

    rng = np.random.default_rng(6)
    (folder / "labels").mkdir(parents=True)
    code = contract.segments[0].type
    coded = hd.sr.CodedConcept(code.value, code.scheme, code.meaning)
    described = hd.seg.SegmentDescription(1, "bright", coded, coded, "MANUAL")
    for number in range(count):
        labels = (rng.random((20, 22, 24)) > 0.7).astype(np.uint8)
        series = write_stack(labels * 50.0, np.eye(4), folder / "images" / f"case{number}", "coronal")
        volume = load_volume(sorted(series.iterdir()))
        by_uid = {header.SOPInstanceUID: header for header in map(dcmread, series.iterdir())}
        seg = hd.seg.Segmentation(
            [by_uid[uid] for uid in volume.frames], (volume.array > 25).astype(np.uint8),
            hd.seg.SegmentationTypeValues.BINARY, [described], generate_uid(), 1, generate_uid(), 1,
            "tests", "tests", "1", "1",
        )  # fmt: skip
        seg.save_as(folder / "labels" / f"case{number}.dcm")
    return folder


def test_a_sites_own_segs_train_a_model_and_a_stopped_training_goes_on(tmp_path: Path) -> None:
    contract = contract_of(trainable_bundle(tmp_path / "model"), modality="MR")
    site_folder, out = segmented(tmp_path / "site", 6, contract), tmp_path / "out"
    assert training.train(contract, site_folder, out, training.Wish(epochs=2, tensorboard=True)) == 0
    first = torch.load(out / "checkpoint_epoch=2.pt", weights_only=False)
    assert training.train(contract, site_folder, out, training.Wish(epochs=8, mlflow=str(tmp_path / "runs.db"))) == 0
    last = torch.load(out / "checkpoint_epoch=8.pt", weights_only=False)
    steps = [checkpoint["optimizer"]["state"][0]["step"].item() for checkpoint in (first, last)]
    assert steps == [2 * 5, 8 * 5]  # it went on, and did not begin anew
    best = torch.load(out / "best.pt", weights_only=True)
    assert {name: tuple(w.shape) for name, w in best.items()} == {"weight": (1, 1, 3, 3, 3), "bias": (1,)}
    assert list((out / "tensorboard").glob("events.out.tfevents.*"))
    store = pytest.importorskip("mlflow").MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs.db'}")
    (run,) = store.search_runs([store.get_experiment_by_name(contract.name).experiment_id])
    assert (run.info.status, run.data.params["sha256"]) == ("FINISHED", contract.digest)
    assert [at.step for at in store.get_metric_history(run.info.run_id, "dice")] == [3, 4, 5, 6, 7, 8]
    assert len(store.get_metric_history(run.info.run_id, "loss")) == 6 * 5
