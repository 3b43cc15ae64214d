"""Several associations store at once: nothing is lost, and nothing is held when they have ended."""

from __future__ import annotations

from pathlib import Path

from soak.load import soak


def test_ten_associations_at_once(tmp_path: Path) -> None:
    soaked = soak(tmp_path / "node", associations=10, objects=500)

    assert soaked.faults == []
    assert soaked.account.acknowledged == soaked.account.stored == soaked.account.rows == 500
