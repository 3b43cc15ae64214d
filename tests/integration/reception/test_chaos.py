"""Acceptor and node are killed while objects are stored: what was acknowledged is there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from soak.chaos import Chaos

FAULTS = 6


@pytest.mark.peer
def test_nothing_acknowledged_is_lost_however_often_it_is_killed(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)

    outcome = Chaos(tmp_path / "node", FAULTS, seed).run()

    assert outcome.account.good, f"seed {seed}: {outcome}"
    assert outcome.account.acknowledged > 0
    assert sum(outcome.kills.values()) >= FAULTS
