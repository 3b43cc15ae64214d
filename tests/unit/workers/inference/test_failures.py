"""Exceptions are told by their root."""

from __future__ import annotations

import itertools

import pytest

from workers.inference import failures


def chained(*errors: Exception) -> Exception:
    """The first error, caused by the second, and so on."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def test_the_root_of_a_chain_is_named() -> None:
    error = chained(RuntimeError("applying transform"), ValueError("no channel"))

    assert failures.innermost(error) == "ValueError: no channel"
    assert failures.innermost(KeyError()) == "KeyError"


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (chained(RuntimeError("applying transform"), MemoryError()), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_want_of_memory_is_seen(error: Exception, memory: bool) -> None:
    assert failures.is_out_of_memory(error) == memory


def test_a_traceback_holds_its_causes() -> None:
    text = failures.formatted(chained(RuntimeError("above"), ValueError("below")))

    assert "above" in text
    assert "below" in text
