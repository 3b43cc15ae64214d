"""Signs of life go to whoever listens, and harm nobody where nobody does."""

from __future__ import annotations

import os

import pytest

from dicom_node.pulse import VARIABLE, Pulse


def test_without_a_supervisor_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    Pulse().beat()


def test_each_beat_is_a_byte_and_too_many_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    monkeypatch.setenv(VARIABLE, str(theirs))
    pulse = Pulse()
    assert VARIABLE not in os.environ
    pulse.beat()
    pulse.beat()
    assert os.read(ours, 100) == b".."
    for _ in range(100_000):
        pulse.beat()
    os.close(ours)
    pulse.beat()
    pulse.beat()
    os.close(theirs)
