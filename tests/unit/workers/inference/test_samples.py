"""Members, mirror images and methods of a network, through a host: each sample lies where the image lies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import contract_of, oblique_volume, write_bundle

from dicom_node.domain.contract import MeasurementSpec, ModelContract
from dicom_node.domain.output import SampleMethod, UncertaintySpec
from dicom_node.errors import ContractError, ModelOutputError
from workers.inference.pool import HostPool
from workers.inference.uncertainty import measured

VOLUME = oblique_volume()
SPECS = (MeasurementSpec("volume", "volume", (("segment_1",),)),)
# Marks what is brighter than 0, and the first slab along W whatever it is: no mirror image of itself.
LOPSIDED = """
import torch


class Network(torch.nn.Module):
    def forward(self, x):
        found = (x > 0).float()
        found[:, :, :4] = 1
        return found

    def several(self, x):
        found = (x > 0).float()
        return {"pred": found, "samples": torch.stack([found, found * 0, found * 0 + 1], dim=1)}

    def single(self, x):
        return {"pred": (x > 0).float()}
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[HostPool]:
    with HostPool("cpu") as opened:
        yield opened


def sampled(folder: Path, method: SampleMethod, **wanted: Any) -> ModelContract:
    write_bundle(folder)
    (folder / "scripts" / "network.py").write_text(LOPSIDED)
    if method is SampleMethod.VIEWS:  # the mean of masks is a share: cut it
        configuration = json.loads((folder / "configs" / "inference.json").read_text())
        configuration["postprocessing"]["transforms"].insert(
            0, {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
        )
        (folder / "configs" / "inference.json").write_text(json.dumps(configuration))
    made = contract_of(folder)
    return replace(made, measurements=SPECS, uncertainty=UncertaintySpec(method, **wanted))


def test_views_are_turned_back_onto_the_image(tmp_path: Path, pool: HostPool) -> None:
    contract = sampled(tmp_path / "views", SampleMethod.VIEWS, flips=("W", "HD"))
    output = pool.run(contract, {"image": VOLUME})

    straight, across, along = (layers[0] for layers in output.sampled_layers(contract))
    bright = VOLUME.array > 0
    assert np.array_equal(straight[bright], np.ones(bright.sum()))
    assert across[bright].all()
    assert along[bright].all()
    assert not np.array_equal(straight, across)  # the slab lies at the other end
    assert np.array_equal(straight, along)  # it is the same along W
    (told,) = measured(contract, output, VOLUME.array, VOLUME.grid)
    assert told.uncertainty is not None
    assert "3 mirror images" in told.uncertainty.method


def test_a_method_of_the_network_gives_samples(tmp_path: Path, pool: HostPool) -> None:
    contract = sampled(tmp_path / "call", SampleMethod.CALL, call="several")
    output = pool.run(contract, {"image": VOLUME})

    assert np.array_equal(output.label_map, VOLUME.array > 0)
    counts = [int(layers[0].sum()) for layers in output.sampled_layers(contract)]
    assert counts == [int((VOLUME.array > 0).sum()), 0, VOLUME.array.size]
    (told,) = measured(contract, output, VOLUME.array, VOLUME.grid)
    assert told.uncertainty is not None
    assert told.uncertainty.spread == pytest.approx(np.std(counts, ddof=1) * VOLUME.grid.voxel_volume / 1000)


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"method": SampleMethod.CALL, "call": "single"}, ModelOutputError, r"single\(\) returned no mapping"),
        ({"method": SampleMethod.CALL, "call": "absent"}, ContractError, "no method 'absent'"),
        ({"method": SampleMethod.MEMBERS}, ModelOutputError, "1 samples, which have no spread"),
    ],
)
def test_what_gives_no_samples_is_refused(
    tmp_path: Path, pool: HostPool, wanted: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pool.run(sampled(tmp_path / "none", **wanted), {"image": VOLUME})
