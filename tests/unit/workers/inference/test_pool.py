"""What a pool decides without a host; its runs stand in tests/integration/inference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import contract_of, oblique_volume
from pydicom import Dataset

from dicom_node.domain.contract import InputRole
from dicom_node.errors import ContractError, GeometryError, InputError, ModelOutputError
from workers.inference import pool


def test_labels_must_be_those_of_the_contract() -> None:
    contract = contract_of(Path("model"), segments=2)
    labels = np.zeros((2, 3, 4), dtype=np.uint8)
    labels[0, 0] = 2
    pool._check_labels(contract, labels)
    labels[1, 1, 1] = 7

    with pytest.raises(ModelOutputError, match=r"label\(s\) 7 that model\.toml does not name"):
        pool._check_labels(contract, labels)


def test_volumes_stand_in_the_order_of_the_roles() -> None:
    roles = tuple(InputRole(name, "MR", 1, (), ()) for name in ("t1", "flair"))
    contract = replace(contract_of(Path("model")), inputs=roles)
    t1, flair = oblique_volume("MR"), oblique_volume("MR")

    assert list(pool._ordered(contract, {"flair": flair, "t1": t1})) == ["t1", "flair"]
    with pytest.raises(InputError, match="takes the series t1, flair, not t1"):
        pool._ordered(contract, {"t1": t1})


def test_volumes_of_different_frames_of_reference_are_refused() -> None:
    roles = tuple(InputRole(name, "MR", 1, (), ()) for name in ("t1", "flair"))
    contract = replace(contract_of(Path("model")), inputs=roles)
    t1 = oblique_volume("MR")
    header = Dataset()
    header.FrameOfReferenceUID = "1.2.99"

    with pytest.raises(GeometryError, match="different frames of reference"):
        pool._ordered(contract, {"t1": t1, "flair": replace(t1, headers=(header,))})


def test_a_broken_bundle_ends_its_host(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text("{ not json")

    with pool.HostPool("cpu") as hosts, pytest.raises(ContractError, match=r"inference\.json: cannot be read"):
        hosts.warm(contract_of(tmp_path))

    assert not hosts._hosts
