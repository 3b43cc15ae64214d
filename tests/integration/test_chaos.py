"""A short run of ``make chaos``: whatever is killed, each study has its results once, in the PACS as in the archive."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from peers import postgresql_programs, program
from soak.everything import KINDS, WITH_DISK, WITH_POSTGRESQL, chaos, plan

FAULTS = int(os.environ.get("CHAOS_FAULTS", "6"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.mark.peer
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("servers", [True, False], ids=["postgresql and redis", "sqlite and embedded"])
def test_each_study_has_its_results_once_whatever_dies(tmp_path: Path, *, servers: bool) -> None:
    for needed in ("Orthanc", "storescu", *(("redis-server",) if servers else ())):
        program(needed)
    if servers:
        postgresql_programs()
    sys.stdout.write(f"CHAOS_SEED={SEED}\n")
    outcome = chaos(tmp_path, SEED, FAULTS, servers=servers, told=lambda text: print(text))  # noqa: T201
    assert outcome.good, str(outcome)
    assert outcome.verdict.studies > 0
    assert sum((outcome.struck + outcome.missed).values()) == FAULTS


def test_a_seed_gives_the_same_faults_and_each_kind_among_many() -> None:
    faults = plan(7, 200, postgresql=True, disk=True)
    assert faults == plan(7, 200, postgresql=True, disk=True)
    assert faults != plan(8, 200, postgresql=True, disk=True)
    assert {fault.kind for fault in faults} == set(KINDS | WITH_POSTGRESQL | WITH_DISK)
