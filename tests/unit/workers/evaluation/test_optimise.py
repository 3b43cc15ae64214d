"""Options that make a model faster: what is kept of what was measured, and that each computes the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundles import contract_of, oblique_volume, write_bundle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dicom_node.archive.optimised import Choice, Optimised, Options
from dicom_node.domain.contract import ModelContract, Weight
from dicom_node.errors import ContractError
from workers.evaluation.optimise import Measured, _Bench, agreement
from workers.inference.chosen import chosen
from workers.inference.pool import HostPool

# Convolutions over windows, and a linear layer that turns the channels into a mask.
NETWORK = """
import torch


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv3d(1, 8, 3, padding=1)
        self.last = torch.nn.Linear(8, 1)

    def forward(self, x):
        y = self.last(self.first(x / 300).relu().movedim(1, 4)).movedim(4, 1)
        return y - y.mean(dim=(1, 2, 3, 4), keepdim=True)
"""


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> ModelContract:
    """A bundle with trained weights, a sliding window and mixed precision declared."""
    folder = write_bundle(tmp_path_factory.mktemp("bundles") / "windows")
    (folder / "scripts" / "network.py").write_text(NETWORK)
    file = folder / "configs" / "inference.json"
    configuration = json.loads(file.read_text())
    configuration["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": [8] * 3, "sw_batch_size": 1}
    configuration["evaluator"] = {"amp": True}
    invert, save = configuration["postprocessing"]["transforms"]
    threshold = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.0}
    configuration["postprocessing"]["transforms"] = [invert, threshold, save]
    file.write_text(json.dumps(configuration))
    torch.manual_seed(3)
    space: dict[str, Any] = {}
    exec(NETWORK, space)  # noqa: S102  the text above
    (folder / "models").mkdir()
    torch.save(space["Network"]().state_dict(), folder / "models" / "model.pt")
    sha256 = hashlib.sha256((folder / "models" / "model.pt").read_bytes()).hexdigest()
    return contract_of(folder, weights=(Weight("models/model.pt", sha256, "tests"),), memory_mb=4000)


@pytest.fixture(scope="module")
def plain(contract: ModelContract) -> dict[str, Any]:
    with HostPool("cpu") as pool:
        arrays = dict(pool.run(contract, {"image": oblique_volume()}).arrays)
    assert 0.2 < arrays["segmentation"].mean() < 0.8
    return arrays


def run(contract: ModelContract, options: Options, exported: Path | None = None) -> Any:
    choice = Choice(contract.name, options, 0.9, 1.0, 1.0, 1.0, 1, "2026-11-27")
    with HostPool("cpu", chosen=lambda digest: (choice, exported)) as pool:
        return pool.run(contract, {"image": oblique_volume()})


@pytest.mark.parametrize(
    ("options", "within"),
    [
        (Options(channels_last=True, windows=4), 0.999),
        (Options(bfloat16=True, windows=3), 0.95),
        (Options(int8=True), 0.95),
    ],
)
def test_each_option_gives_what_the_bundle_gives(
    contract: ModelContract, plain: dict[str, Any], options: Options, within: float
) -> None:
    output = run(contract, options)
    assert agreement(plain, output.arrays) >= within
    assert output.versions["optimised"].startswith(f"{options}: ")


def test_a_network_exported_in_its_sandbox_gives_what_the_bundle_gives(
    contract: ModelContract, plain: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    volumes = {"image": oblique_volume()}
    with HostPool("cpu") as pool, pool.exported(contract, volumes) as file:
        content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    exported = tmp_path / f"{sha256}.onnx"
    exported.write_bytes(content)
    assert agreement(plain, run(contract, Options(windows=4, onnx=sha256), exported).arrays) >= 0.999
    exported.write_bytes(content + b" ")
    with pytest.raises(ContractError, match="is not the network that was exported"):
        run(contract, Options(onnx=sha256), exported)


def test_what_a_network_cannot_take_is_refused_by_name(tmp_path: Path) -> None:
    bare = contract_of(write_bundle(tmp_path / "bare"))
    for options, why in (
        (Options(windows=2), "no sliding window"),
        (Options(int8=True), "no linear"),
        (Options(bfloat16=True), r"evaluator\.amp"),
        (Options(channels_last=True), "no convolutions"),
    ):
        with pytest.raises(ContractError, match=why.replace("no linear", "linear layers")):
            run(bare, options)


class Scripted(_Bench):
    """Measures nothing: seconds and agreement stand in a script, by option."""

    def __init__(self, script: dict[str, Any], again: list[float] | None = None) -> None:
        self.script, self.again, self.asked = script, again or [], list[str]()
        super().__init__(contract_of(Path("scripted")), [], Optimised(Path(), "cpu", "2"), 0.99, "cpu", print)

    def _measured(self, options: Options) -> Measured:
        key = str(options)
        if key in self.asked and self.again:
            return Measured(options, self.again.pop(0), (), "cpu")
        self.asked.append(key)
        told = self.script.get(key)
        if told is None:
            raise ContractError("not here")
        return Measured(options, told[0], (), "cpu", told[1])

    def _exported(self) -> str:
        raise ContractError("an ensemble is not exported")


PLAIN = {"as the bundle says": (10.0, 1.0)}


def test_what_is_faster_and_agrees_is_kept_and_built_upon() -> None:
    bench = Scripted(
        PLAIN
        | {
            "channels last": (8.0, 1.0),
            "channels last, 1 windows at a time": (9.0, 1.0),
            "channels last, 2 windows at a time": (6.0, 0.995),
            "channels last, 4 windows at a time": (5.9, 1.0),
            "channels last, 2 windows at a time, torch.compile": (2.0, 0.98),
        }
    )
    bench.measure_all()
    kept = bench.choice()
    assert kept.options == Options(channels_last=True, windows=2)
    assert (kept.seconds, kept.plain_seconds, kept.agreement, kept.faster) == (6.0, 10.0, 0.995, 10 / 6)
    whys = {row["options"]: row["why"] for row in kept.tried}
    assert whys["channels last, 4 windows at a time"] == "not faster"
    assert whys["channels last, 2 windows at a time, torch.compile"] == "differs by more than allowed"
    assert whys["ONNX Runtime"] == "not to be had: an ensemble is not exported"
    assert whys["channels last, 2 windows at a time, bfloat16"] == "not to be had: not here"
    assert "channels last, 16 windows at a time" not in whys  # 8 were not to be had


def test_what_was_faster_only_while_the_machine_was_busy_is_not_kept() -> None:
    bench = Scripted(PLAIN | {"channels last": (8.0, 1.0)}, again=[7.9])
    bench.measure_all()
    assert bench.choice().options == Options()
    assert bench.choice().tried[0]["why"] == "not faster, when measured again"


masks = arrays(np.uint8, (3, 4), elements=st.integers(0, 2))


@given(masks, masks)
def test_agreement_is_one_for_the_same_and_symmetric_for_masks(a: Any, b: Any) -> None:
    assert agreement({"m": a}, {"m": a}) == 1
    assert agreement({"m": a}, {"m": b}) == agreement({"m": b}, {"m": a})
    assert (agreement({"m": a}, {"m": b}) == 1) == np.array_equal(a, b)


def test_agreement_of_numbers_is_the_largest_difference() -> None:
    a = {"p": np.array([0.2, 0.8]), "age": np.array([50.0])}
    assert agreement(a, {"p": np.array([0.21, 0.8]), "age": np.array([50.0])}) == pytest.approx(0.99)
    assert agreement(a, {"p": np.array([0.2, 0.8]), "age": np.array([45.0])}) == pytest.approx(0.9)
    assert agreement(a, {"p": np.array([0.2]), "age": np.array([50.0])}) == 0
    assert agreement(a, {"p": np.array([0.2, 0.8])}) == 0


def test_a_damaged_file_is_told_and_the_bundle_computes_as_it_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "optimised.json").write_text("{")
    assert chosen(tmp_path, "cpu")("ab") is None
    assert "models compute as their bundles say" in caplog.text
