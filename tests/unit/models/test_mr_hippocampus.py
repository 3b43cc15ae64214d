"""The hippocampus bundle: scale of intensities, postures, what its weights are worth, and its way through DICOM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from bundles import bundle_scripts
from mr_series import STACKS, hippocampus_case, write_stack

from dicom_node.catalogue import load_contract
from dicom_node.errors import InputError
from workers.inference.pool import HostPool
from workers.inference.verify import synthetic
from workers.inference.volume import Volume, load_volume

BUNDLE = Path(__file__).resolve().parents[3] / "models" / "mr_hippocampus"
SPLIT = json.loads((BUNDLE / "configs" / "split.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def scripts() -> ModuleType:
    return bundle_scripts(BUNDLE, "ensemble", "intensity", "merge", "network", "training")


@pytest.fixture(scope="module")
def pool() -> Iterator[HostPool]:
    with HostPool("cpu") as opened:
        yield opened


def dice(found: npt.NDArray[Any], truth: npt.NDArray[Any], label: int) -> float:
    a, b = found == label, truth == label
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_the_parts_of_the_split_share_no_case() -> None:
    names = [*SPLIT["training"], *SPLIT["validation"], *SPLIT["test"]]

    assert len(SPLIT["test"]) == 40
    assert len(names) == len(set(names)) == 200


def test_training_starts_from_the_weights_that_are_served(scripts: ModuleType) -> None:
    config = json.loads((BUNDLE / "configs" / "train.json").read_text(encoding="utf-8"))
    served = json.loads((BUNDLE / "configs" / "inference.json").read_text(encoding="utf-8"))["network_def"]["folds"]
    network = scripts.network.HippocampusNet(fold=config["fold"])

    scripts.training.started(network, str(BUNDLE / "models" / "model.pt"))

    assert config["fold"] == served[0]


def test_scale_offset_and_padding_change_nothing(scripts: ModuleType) -> None:
    import torch

    image = torch.as_tensor(np.random.default_rng(1).gamma(4.0, 50.0, (1, 20, 24, 18)).astype(np.float32))
    scaled = torch.nn.functional.pad(image * 0.37 + 1000, (4,) * 6, value=float(image.min()) * 0.37 + 1000)

    straight = scripts.intensity.normalised(image)
    again = scripts.intensity.normalised(scaled)[:, 4:-4, 4:-4, 4:-4]

    assert torch.allclose(straight, again, atol=1e-3)
    assert float(straight.std()) == pytest.approx(1, abs=0.05)


def test_an_empty_image_gives_no_nan(scripts: ModuleType) -> None:
    import torch

    assert not scripts.intensity.normalised(torch.full((1, 8, 8, 8), 7.0)).any()


def test_the_rate_rises_stays_and_falls(scripts: ModuleType) -> None:
    rates = [scripts.training.rate(i, warm=10, cool_from=50, end=100) for i in (0, 9, 30, 75, 100, 200)]

    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.51, 0.02, 0.02])


def test_members_become_an_ensemble_and_no_others(scripts: ModuleType, tmp_path: Path) -> None:
    import torch

    members = [scripts.network.HippocampusNet() for _ in range(2)]
    files = [tmp_path / f"{number}.pt" for number in range(2)]
    for member, file in zip(members, files, strict=True):
        torch.save(member.state_dict(), file)
    scripts.merge.merge(files, tmp_path / "model.pt")

    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert (tmp_path / "model.pt").stat().st_size < 0.6 * sum(file.stat().st_size for file in files)
    name, weight = next(iter(members[1].state_dict().items()))
    assert torch.allclose(state[f"members.1.{name}"].float(), weight, atol=1e-3)
    torch.save({"other": weight}, files[0])
    with pytest.raises(RuntimeError, match="other"):
        scripts.merge.merge(files, tmp_path / "model.pt")


def test_background_wins_where_it_is_unsure(scripts: ModuleType) -> None:
    import torch

    unsure, sure = torch.tensor([0.3, 0.5, 0.2]), torch.tensor([0.1, 0.1, 0.8])
    told = scripts.ensemble.weighed(torch.stack([unsure, sure], 1)[None, ..., None, None])[0, ..., 0, 0]

    assert told.argmax(0).tolist() == [0, 2]
    assert torch.allclose(told.sum(0), torch.ones(2))


def test_labels_and_segments_agree() -> None:
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    contract = load_contract(BUNDLE)

    assert len(metadata["network_data_format"]["outputs"]["pred"]["channel_def"]) == 1 + len(contract.segments)
    assert sum((BUNDLE / weight.path).stat().st_size for weight in contract.weights) < 10e6


def test_a_whole_head_is_refused(pool: HostPool) -> None:
    contract = load_contract(BUNDLE)
    trunk = synthetic(load_contract(BUNDLE.parent / "ct_lung_density").inputs[0])

    with pytest.raises(InputError, match="120 mm along each") as refused:
        pool.run(contract, {"mr": trunk})
    assert refused.value.reason == "extent"


def series_of(case: str, test_data: Path, folder: Path, stack: str) -> tuple[Volume, npt.NDArray[np.uint8]]:
    """A case as the worker reads it from DICOM, and its labels on that grid (slice, row, column)."""
    image, labels, affine = hippocampus_case(test_data, case)
    volume = load_volume(list(write_stack(image, affine, folder, stack).iterdir()), minimum_slices=20)
    index = np.indices(volume.grid.shape).reshape(3, -1).T
    ras = volume.grid.index_to_lps(index) * np.array([-1, -1, 1])
    at = np.round((ras - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    return volume, labels[tuple(at.T)].reshape(volume.grid.shape)


@pytest.mark.data
@pytest.mark.parametrize("case", SPLIT["test"][:4])
def test_unseen_cases_are_outlined(case: str, test_data: Path, tmp_path: Path, pool: HostPool) -> None:
    volume, truth = series_of(case, test_data, tmp_path / "in", "axial")
    found = pool.run(load_contract(BUNDLE), {"mr": volume}).label_map

    assert dice(found, truth, 1) > 0.8
    assert dice(found, truth, 2) > 0.8


@pytest.mark.data
@pytest.mark.parametrize("stack", [stack for stack in STACKS if stack != "axial"])
def test_the_way_a_series_is_stacked_changes_little(
    stack: str, test_data: Path, tmp_path: Path, pool: HostPool
) -> None:
    volume, truth = series_of(SPLIT["test"][4], test_data, tmp_path / "in", stack)
    found = pool.run(load_contract(BUNDLE), {"mr": volume}).label_map

    assert dice(found, truth, 1) > 0.8
    assert dice(found, truth, 2) > 0.8


@pytest.mark.data
def test_a_header_that_has_turned_the_anatomy_round_is_seen_through(
    test_data: Path, tmp_path: Path, pool: HostPool
) -> None:
    from dataclasses import replace

    volume, truth = series_of(SPLIT["test"][5], test_data, tmp_path / "in", "axial")
    turned = replace(volume, array=np.ascontiguousarray(volume.array[:, ::-1]))
    found = pool.run(load_contract(BUNDLE), {"mr": turned}).label_map[:, ::-1]

    assert dice(found, truth, 1) > 0.8
    assert dice(found, truth, 2) > 0.8
