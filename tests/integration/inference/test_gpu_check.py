"""What ``make gpu-check`` asks of a card, asked of the CPU: the checks themselves must hold where they are sure to."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_options_give_on_a_device_what_they_give_on_the_cpu(tmp_path: Path) -> None:
    gpu_check = pytest.importorskip("benchmarks.gpu_check")

    rows = gpu_check.options("cpu", tmp_path)

    assert len(rows) == 4
    assert all(row.ours == 1.0 and row.met for row in rows)
