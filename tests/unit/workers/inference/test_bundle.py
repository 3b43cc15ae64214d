"""Bundles in this process: what their configurations may say, and what they may return."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import contract_of, oblique_volume

from dicom_node.domain.finding import Code
from dicom_node.domain.output import Activation, ClassOutput, ClassSpec, Output
from dicom_node.errors import ContractError, ModelOutputError
from workers.inference import returns

torch = pytest.importorskip("torch")
bundle = pytest.importorskip("workers.inference.bundle")

CHANNEL_FIRST = {"_target_": "EnsureChannelFirstd", "keys": "image"}
RESAMPLED = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.3, 1.1, 2.9]}
THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0}
INVERTED = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": True,
}


def compose(*transforms: Any) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(transforms)}


def configuration(**changes: Any) -> dict[str, Any]:
    """One that marks what is brighter than 0; ``None`` removes a key."""
    config: dict[str, Any] = {
        "network_def": {"_target_": "torch.nn.Identity"},
        "preprocessing": compose(CHANNEL_FIRST),
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": compose(THRESHOLD),
    } | changes
    return {key: value for key, value in config.items() if value is not None}


def loaded(
    folder: Path, config: dict[str, Any], weights: dict[str, str] | None = None, outputs: tuple[Output, ...] = ()
) -> Any:
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    contract = contract_of(folder, outputs=outputs)
    return bundle.Bundle(folder, "configs/inference.json", weights or {}, torch.device("cpu"), returns.orders(contract))


def run(folder: Path, config: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The input's array and the label map."""
    volume = oblique_volume()
    given = bundle.Input(volume.array, volume.grid.ras_affine_whd())
    arrays, _, _ = loaded(folder, config).run({"image": given}, lambda step: None)
    return volume.array, arrays["segmentation"][0]


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLA", "PIR"])
def test_whatever_orientation_a_bundle_asks_for_its_labels_come_back_in_ours(tmp_path: Path, axes: str) -> None:
    oriented = {"_target_": "Orientationd", "keys": "image", "axcodes": axes}

    array, labels = run(
        tmp_path,
        configuration(preprocessing=compose(CHANNEL_FIRST, oriented), postprocessing=compose(INVERTED, THRESHOLD)),
    )

    assert labels.dtype == np.uint8
    assert labels.flags.c_contiguous
    assert np.array_equal(labels, array > 0)


def test_file_transforms_are_left_out_however_they_are_written(tmp_path: Path) -> None:
    load = {"_target_": "LoadImaged", "keys": "image", "reader": "NoSuchReader"}
    config = configuration(
        imports=["$import monai.transforms"],
        preprocessing=compose(load, CHANNEL_FIRST),
        postprocessing={
            "_target_": "Compose",
            "transforms": "$[monai.transforms.AsDiscreted('pred', threshold=0), monai.transforms.SaveImaged('pred')]",
        },
    )

    array, labels = run(tmp_path, config)

    assert np.array_equal(labels, array > 0)


def test_a_bundle_needs_no_preprocessing(tmp_path: Path) -> None:
    array, labels = run(tmp_path, configuration(preprocessing=None))

    assert np.array_equal(labels, array > 0)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"postprocessing": None}, "values from -"),
        ({"postprocessing": compose({"_target_": "Activationsd", "keys": "pred", "sigmoid": True})}, "fractions"),
        ({"preprocessing": compose(CHANNEL_FIRST, RESAMPLED)}, "the shape"),
        (
            {"preprocessing": compose(CHANNEL_FIRST, {"_target_": "Flipd", "keys": "image", "spatial_axis": 0})},
            "another grid",
        ),
        (
            {"postprocessing": compose(THRESHOLD, {"_target_": "DeleteItemsd", "keys": "pred"})},
            "no 'pred'",
        ),
    ],
)
def test_what_is_no_label_map_on_the_input_grid_is_refused(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ModelOutputError, match=what):
        run(tmp_path, configuration(**changes))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"network_def": None}, "network_def: the bundle has no such key"),
        ({"inferer": None}, "inferer: the bundle has no such key"),
        ({"inferer": {"_target_": "NoSuchInferer"}}, "inferer: cannot be built"),
        ({"network_def": "$1 / 0"}, "network_def: cannot be built: ZeroDivisionError"),
        (
            {"network_def": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}},
            "weights",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_by_key(
    tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    with pytest.raises(ContractError, match=what):
        loaded(tmp_path, configuration(**changes))


class TestWeights:
    """A network runs with the weights of its contract, or not at all."""

    CONVOLUTION = configuration(
        network_def={
            "_target_": "torch.nn.Conv3d",
            "in_channels": 1,
            "out_channels": 1,
            "kernel_size": 1,
            "bias": False,
        }
    )

    def written(self, folder: Path, state: Any) -> dict[str, str]:
        (folder / "models").mkdir()
        torch.save(state, folder / "models" / "model.pt")
        return {"models/model.pt": hashlib.sha256((folder / "models" / "model.pt").read_bytes()).hexdigest()}

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_they_are_used(self, tmp_path: Path, wrapped: bool) -> None:
        state = {"weight": torch.full((1, 1, 1, 1, 1), -1.0)}
        weights = self.written(tmp_path, {"model": state} if wrapped else state)
        volume = oblique_volume()

        arrays, _, _ = loaded(tmp_path, self.CONVOLUTION, weights).run(
            {"image": bundle.Input(volume.array, volume.grid.ras_affine_whd())}, lambda step: None
        )

        assert np.array_equal(arrays["segmentation"][0], volume.array < 0)

    def test_another_digest_is_refused(self, tmp_path: Path) -> None:
        self.written(tmp_path, {"weight": torch.zeros(1, 1, 1, 1, 1)})

        with pytest.raises(ContractError, match="not those of the contract"):
            loaded(tmp_path, self.CONVOLUTION, {"models/model.pt": "0" * 64})

    def test_those_of_another_network_are_refused(self, tmp_path: Path) -> None:
        weights = self.written(tmp_path, {"other": torch.zeros(1)})

        with pytest.raises(ContractError, match="do not fit the network"):
            loaded(tmp_path, self.CONVOLUTION, weights)

    def test_code_in_a_weights_file_does_not_run(self, tmp_path: Path) -> None:
        weights = self.written(tmp_path, {"weight": Path("/")})

        with pytest.raises(ContractError, match=r"model\.pt: the weights do not fit"):
            loaded(tmp_path, self.CONVOLUTION, weights)

    @pytest.mark.parametrize("path", ["models/absent.pt", "../outside.pt"])
    def test_absent_ones_are_refused(self, tmp_path: Path, path: str) -> None:
        (tmp_path.parent / "outside.pt").touch()

        with pytest.raises(ContractError, match="not there"):
            loaded(tmp_path, self.CONVOLUTION, {path: "0" * 64})

    def test_unlisted_ones_are_refused(self, tmp_path: Path) -> None:
        self.written(tmp_path, {})

        with pytest.raises(ContractError, match="does not list it"):
            loaded(tmp_path, configuration())


class TestForms:
    """Networks come as weights of a configuration, as TorchScript, or several together."""

    def scripted(self, folder: Path, sign: float, **extra: Any) -> dict[str, str]:
        convolution = torch.nn.Conv3d(1, 1, 1, bias=False)
        convolution.weight.data.fill_(sign)
        (folder / "models").mkdir(exist_ok=True)
        file = folder / "models" / "model.ts"
        files = {f"{name}.json": json.dumps(content) for name, content in extra.items()}
        torch.jit.script(convolution).save(str(file), _extra_files=files)
        return {"models/model.ts": hashlib.sha256(file.read_bytes()).hexdigest()}

    def labels(self, bundled: Any) -> tuple[np.ndarray, np.ndarray]:
        volume = oblique_volume()
        given = bundle.Input(volume.array, volume.grid.ras_affine_whd())
        return volume.array, bundled.run({"image": given}, lambda step: None)[0]["segmentation"][0]

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_torchscript_takes_the_place_of_the_network(self, tmp_path: Path) -> None:
        weights = self.scripted(tmp_path, -1.0)

        array, labels = self.labels(loaded(tmp_path, configuration(network_def={"_target_": "NotThere"}), weights))

        assert np.array_equal(labels, array < 0)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_torchscript_may_hold_its_configuration(self, tmp_path: Path) -> None:
        weights = self.scripted(tmp_path, -1.0, inference=configuration(network_def=None), metadata={})
        orders = returns.orders(contract_of(tmp_path))

        array, labels = self.labels(bundle.Bundle(tmp_path, "models/model.ts", weights, torch.device("cpu"), orders))

        assert np.array_equal(labels, array < 0)

    def test_what_is_no_torchscript_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "model.ts").write_bytes(b"no archive")
        weights = {"models/model.ts": hashlib.sha256(b"no archive").hexdigest()}

        with pytest.raises(ContractError, match="is no TorchScript"):
            loaded(tmp_path, configuration(), weights)
        with pytest.raises(ContractError, match=r"holds no inference\.json"):
            bundle.Bundle(tmp_path, "models/model.ts", weights, torch.device("cpu"), [])

    def test_an_ensemble_has_weights_for_each_network_and_joins_their_outputs(self, tmp_path: Path) -> None:
        network = TestWeights.CONVOLUTION["network_def"]
        config = configuration(
            network_def=None,
            networks=[network, network, network],
            postprocessing=compose(
                {"_target_": "MeanEnsembled", "keys": ["pred0", "pred1", "pred2"], "output_key": "pred"}, THRESHOLD
            ),
        )
        (tmp_path / "models").mkdir()
        listed = {}
        for number, sign in enumerate((1.0, -3.0, 1.0)):
            file = tmp_path / "models" / f"fold{number}.pt"
            torch.save({"weight": torch.full((1, 1, 1, 1, 1), sign)}, file)
            listed[f"models/{file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()

        array, labels = self.labels(loaded(tmp_path, config, listed))

        assert np.array_equal(labels, array < 0)
        with pytest.raises(ContractError, match="3 networks have 2 files of weights"):
            loaded(tmp_path, config, dict(list(listed.items())[:2]))

    def test_a_classifier_keeps_its_probabilities_from_before_the_postprocessing(self, tmp_path: Path) -> None:
        code = Code("1", "99TEST", "Class")
        classes = (ClassSpec("dark", code), ClassSpec("bright", code))
        output = ClassOutput("brightness", "network", classes, exclusive=True, activation=Activation.SOFTMAX)
        config = configuration(
            network_def="$torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d((2, 1)), torch.nn.Flatten())",
            imports=["$import torch"],
            postprocessing=compose(
                {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 2}
            ),
        )
        array = np.array([[[0.0, 0.0, 4.0, 4.0]]], np.float32)  # one slice of one row: columns become W

        arrays, _, _ = loaded(tmp_path, config, outputs=(output,)).run(
            {"image": bundle.Input(array, np.eye(4), dimensions=2)}, lambda step: None
        )

        assert arrays["brightness"] == pytest.approx([1 / (1 + np.exp(4)), 1 / (1 + np.exp(-4))])
