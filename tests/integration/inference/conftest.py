"""Small bundles and a volume to run them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import contract_of, oblique_volume, write_bundle

from dicom_node.domain.contract import ModelContract
from workers.inference.volume import Volume


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., ModelContract]:
    """Write a bundle whose network runs ``body`` first; further arguments are the contract's."""

    def make(name: str, body: str = "pass", **limits: object) -> ModelContract:
        return contract_of(write_bundle(tmp_path / name, body), **limits)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def volume() -> Volume:
    """A small oblique CT."""
    return oblique_volume()
