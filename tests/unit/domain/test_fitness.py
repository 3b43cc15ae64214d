"""Which worker may run which job."""

from __future__ import annotations

import pytest

from dicom_node.domain.fitness import Abilities, Needs, as_text, from_text


@pytest.mark.parametrize(
    ("has", "needs", "lack"),
    [
        (Abilities(), Needs(), ""),
        (Abilities(None), Needs(gpu_memory_mb=8000), ""),  # a CPU, or a GPU that does not say
        (Abilities(8000), Needs(gpu_memory_mb=8000), ""),
        (Abilities(7999), Needs(gpu_memory_mb=8000), "has a GPU with 7999 MB, 8000 MB are needed"),
        (Abilities(labels=frozenset({"cpu", "large"})), Needs(labels=frozenset({"large"})), ""),
        (Abilities(labels=frozenset({"cpu"})), Needs(labels=frozenset({"gpu", "large"})), "has not the label 'gpu'"),
    ],
)
def test_lack_is_named(has: Abilities, needs: Needs, lack: str) -> None:
    assert has.lack(needs) == lack


def test_only_workers_with_the_same_abilities_share_a_queue() -> None:
    queues = {
        Abilities(labels=frozenset({"cpu"})).queue,
        Abilities(8000, frozenset({"gpu"})).queue,
        Abilities(8000, frozenset({"gpu", "large"})).queue,
        Abilities(16000, frozenset({"gpu"})).queue,
    }
    assert len(queues) == 4
    assert Abilities(1, frozenset("ab")).queue == Abilities(1, frozenset("ba")).queue


@pytest.mark.parametrize("labels", [frozenset(), frozenset({"a"}), frozenset({"b", "a-1", "c.d"})])
def test_labels_survive_the_ledger(labels: frozenset[str]) -> None:
    assert from_text(as_text(labels)) == labels
