"""A model is tried on a computed volume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bundles import contract_of, write_bundle

from dicom_node.domain.contract import InputRole
from workers.inference.verify import Outcome, _turned, synthetic, verify


def test_a_turned_volume_is_the_same_patient() -> None:
    volume = synthetic(InputRole("ct", "CT", 40, (), ()))
    turned = _turned(volume)

    assert volume.grid.shape[0] == 40
    at = np.array([[3, 10, 20], [30, 50, 60]])
    there = np.round(turned.grid.lps_to_index(volume.grid.index_to_lps(at))).astype(int)
    assert np.array_equal(turned.array[tuple(there.T)], volume.array[tuple(at.T)])


def test_a_role_of_small_volumes_gets_a_small_one() -> None:
    volume = synthetic(InputRole("mr", "MR", 20, (), (), maximum_extent_mm=120.0))

    assert max(n * mm for n, mm in zip(volume.grid.shape, volume.grid.spacing, strict=True)) == pytest.approx(120)


@pytest.mark.parametrize(
    ("body", "oriented", "last", "outcome"),
    [
        ("x = torch.zeros_like(x); x[..., :8] = 1", True, "orientation", Outcome.PASSED),
        ("x = torch.zeros_like(x); x[..., :8] = 1", False, "orientation", Outcome.DOUBTFUL),
        ("raise ValueError('no')", True, "model-raised", Outcome.FAILED),
    ],
)
def test_each_check_is_told(tmp_path: Path, body: str, oriented: bool, last: str, outcome: Outcome) -> None:
    contract = contract_of(write_bundle(tmp_path / "model", body))
    if not oriented:
        file = contract.folder / contract.configuration
        config = json.loads(file.read_text())
        config["preprocessing"]["transforms"] = config["preprocessing"]["transforms"][:-1]
        file.write_text(json.dumps(config))

    checks = list(verify(contract, device="cpu"))

    assert (checks[0].name, checks[0].outcome) == ("licence", Outcome.DOUBTFUL)
    assert (checks[-1].name, checks[-1].outcome) == (last, outcome)
    assert all(check.ok for check in checks) == (outcome is not Outcome.FAILED)
    assert all(check.name in check.what and check.detail in check.what for check in checks)
    assert all(check.remedy for check in checks if check.outcome is not Outcome.PASSED)
