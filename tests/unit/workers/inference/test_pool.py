"""What a pool decides without a host; its runs stand in tests/integration/inference."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import contract_of

from dicom_node.errors import ContractError
from workers.inference import pool


def test_a_broken_bundle_ends_its_host(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text("{ not json")

    with pool.HostPool("cpu") as hosts, pytest.raises(ContractError, match=r"inference\.json: cannot be read"):
        hosts.warm(contract_of(tmp_path))

    assert not hosts._hosts
