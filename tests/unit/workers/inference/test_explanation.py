"""Maps of what an answer rests on: in place, by both methods, and checked against networks of random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import contract_of, oblique_volume, write_bundle
from explained_bundle import NETWORK, sha256_of_weights
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from dicom_node.domain.contract import ModelContract, Weight
from dicom_node.domain.finding import Code
from dicom_node.domain.output import (
    Activation,
    ClassOutput,
    ClassSpec,
    ExplanationSpec,
    MapMethod,
    Output,
    ValueOutput,
    ValueSpec,
)
from dicom_node.errors import ContractError, ModelOutputError
from workers.inference import statements
from workers.inference.pool import HostPool
from workers.inference.verify import Outcome, verify
from workers.inference.volume import Volume

torch = pytest.importorskip("torch")
explanation = pytest.importorskip("workers.inference.explanation")

CODE = Code("1", "99TEST", "Something")
CLASSES = ClassOutput("quality", "pred", (ClassSpec("dull", CODE), ClassSpec("bright", CODE)), True)
SOFTMAXED = replace(CLASSES, activation=Activation.SOFTMAX)


@pytest.fixture(scope="module")
def pool() -> Iterator[HostPool]:
    with HostPool("cpu") as opened:
        yield opened


@pytest.fixture
def volume() -> Volume:
    made = oblique_volume()
    return replace(made, array=np.abs(made.array) / 300)


def contract(folder: Path, wanted: ExplanationSpec, output: Output = SOFTMAXED, learned: bool = True) -> ModelContract:
    write_bundle(folder)
    (folder / "scripts" / "network.py").write_text(NETWORK)
    configuration = json.loads((folder / "configs" / "inference.json").read_text())
    configuration["network_def"]["learned"] = learned
    del configuration["postprocessing"]
    (folder / "configs" / "inference.json").write_text(json.dumps(configuration))
    made = contract_of(
        folder, segments=0, outputs=(output,), weights=(Weight("models/model.pt", sha256_of_weights(folder), "tests"),)
    )
    return replace(made, segments=(), task="classification", explanation=wanted)


def block(volume: Volume) -> np.ndarray:
    """The voxels that the network looks at, in the axes of the volume: it sees them after Orientationd."""
    from monai.data import MetaTensor
    from monai.transforms import Orientation

    inside = np.zeros(volume.array.shape, np.float32)
    straight = MetaTensor(inside.T[None], affine=volume.grid.ras_affine_whd(), meta={"space": "RAS"})
    turn = Orientation(axcodes="RAS")
    turned = turn(straight)
    turned[:, 2:6, 3:9, 1:5] = 1
    return np.asarray(turn.inverse(turned)[0]).T > 0


@pytest.mark.parametrize(
    "wanted",
    [
        ExplanationSpec("quality", MapMethod.OCCLUSION, window=4),
        ExplanationSpec("quality", MapMethod.GRAD_CAM, layer="body"),
    ],
)
def test_the_map_is_highest_where_the_network_looks(
    tmp_path: Path, pool: HostPool, volume: Volume, wanted: ExplanationSpec
) -> None:
    asked = contract(tmp_path / wanted.method.name.lower(), wanted)
    output = pool.run(asked, {"image": volume})

    found = statements.explanation(asked, output.arrays)

    assert found is not None
    assert found.values.shape == volume.grid.shape
    assert found.of in ("dull", "bright")
    inside, size = block(volume), np.abs(found.values)
    assert size[inside].mean() > 1.5 * size[~inside].mean()


def test_a_value_is_explained_in_its_own_unit(tmp_path: Path, pool: HostPool, volume: Volume) -> None:
    output = ValueOutput(
        "ages", "pred", (ValueSpec("first", CODE, CODE), ValueSpec("age", CODE, Code("a", "UCUM", "a")))
    )
    asked = contract(tmp_path / "v", ExplanationSpec("ages", MapMethod.OCCLUSION, of="age", window=4), output)

    found = statements.explanation(asked, pool.run(asked, {"image": volume}).arrays)

    assert found is not None
    assert (found.of, found.unit.value) == ("age", "a")


def test_a_layer_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, pool: HostPool, volume: Volume) -> None:
    wanted = ExplanationSpec("quality", MapMethod.GRAD_CAM, layer="tail")
    with pytest.raises(ContractError, match="no layer 'tail'") as refused:
        pool.run(contract(tmp_path / "l", wanted), {"image": volume})
    assert "body" in (refused.value.remedy or "")


def checked(folder: Path, *, learned: bool) -> Any:
    output = CLASSES if not learned else SOFTMAXED
    asked = contract(folder, ExplanationSpec("quality", MapMethod.OCCLUSION, window=16), output, learned=learned)
    return next(check for check in verify(asked, device="cpu") if check.name == "explanation")


def test_a_map_that_random_weights_do_not_change_fails(tmp_path: Path) -> None:
    check = checked(tmp_path / "fixed", learned=False)

    assert check.outcome is Outcome.FAILED
    assert "does not depend on the weights" in check.detail


def test_a_map_that_they_change_does_not(tmp_path: Path) -> None:
    assert checked(tmp_path / "learned", learned=True).outcome is not Outcome.FAILED


def test_the_weights_are_afterwards_as_they_were() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    order = {"method": "occlusion", "layer": "", "window": 2, "overlap": 0.0, "activation": "softmax", "of": None}
    explainer = explanation.Explainer(order, network)
    before = [parameter.clone() for parameter in network.parameters()]

    likeness = explainer.likeness_at_random(torch.rand(1, 1, 4, 4, 4), 1, 3)

    assert likeness.shape == (3,)
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


@given(values=npst.arrays(np.float32, (2, 24), elements=st.integers(-3, 3)))
def test_ranks_are_those_of_scipy(values: np.ndarray) -> None:
    one, other = values
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        assert explanation.rank_correlation(one, other) == float(np.ptp(one) == np.ptp(other))
    else:
        assert explanation.rank_correlation(one, other) == pytest.approx(
            stats.spearmanr(one, other).statistic, abs=1e-9
        )


def test_an_image_without_a_place_must_have_the_input_s_shape() -> None:
    frame = explanation.Frame((4, 5, 6), np.eye(4), "image")
    assert explanation.placed(np.zeros((4, 5, 6), np.float32), torch.zeros(1), frame).shape == (6, 5, 4)
    with pytest.raises(ModelOutputError, match="no affine"):
        explanation.placed(np.zeros((2, 2, 2), np.float32), torch.zeros(1), frame)
