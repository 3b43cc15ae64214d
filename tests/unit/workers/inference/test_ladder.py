"""Memory that does not suffice is met by smaller parts, and nothing else is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
ladder = pytest.importorskip("workers.inference.ladder")

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def test_windows_are_halved_and_on_a_gpu_at_last_stitched_on_the_cpu() -> None:
    inferer = SimpleNamespace(sw_batch_size=4, device=None)

    assert [str(rung) for rung in ladder.Ladder(inferer, CUDA).rungs] == [
        "4 windows at a time",
        "2 windows at a time",
        "1 windows at a time",
        "1 windows at a time, put together on the cpu",
    ]
    assert len(ladder.Ladder(inferer, CPU).rungs) == 3
    assert len(ladder.Ladder(SimpleNamespace(), CUDA).rungs) == 1


def test_it_steps_down_as_far_as_it_must_and_tells_where_it_stands() -> None:
    inferer = SimpleNamespace(sw_batch_size=8, device=None)
    told: list[str] = []

    def compute() -> int:
        if inferer.sw_batch_size > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return int(inferer.sw_batch_size)

    steps = ladder.Ladder(inferer, CPU)

    assert steps.run(compute, 0, told.append) == (2, 2)
    assert told == ["inference, 4 windows at a time", "inference, 2 windows at a time"]
    assert steps.run(compute, 2, told.append) == (2, 2)
    assert len(told) == 2


def test_another_error_and_the_last_rung_are_told() -> None:
    inferer = SimpleNamespace(sw_batch_size=2, device=None)
    tried: list[int] = []

    def compute(message: str) -> None:
        tried.append(inferer.sw_batch_size)
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="shape"):
        ladder.Ladder(inferer, CPU).run(lambda: compute("shape mismatch"), 0, print)
    assert tried == [2]
    with pytest.raises(RuntimeError, match="out of memory"):
        ladder.Ladder(inferer, CPU).run(lambda: compute("out of memory"), 0, print)
    assert tried == [2, 2, 1]
