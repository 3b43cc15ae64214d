"""Bytes per second, over all connections."""

from __future__ import annotations

from dicom_node.delivery.bandwidth import Bandwidth


class Clock:
    """Waits at once."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_what_is_spent_goes_at_the_rate() -> None:
    clock = Clock()
    bandwidth = Bandwidth(1000, clock, clock.wait)
    for _ in range(100):
        bandwidth.spend(100)
    assert 9.0 <= clock.now <= 10.0


def test_a_pause_saves_up_no_more_than_a_burst() -> None:
    clock = Clock()
    bandwidth = Bandwidth(1000, clock, clock.wait)
    clock.now = 3600.0
    for _ in range(100):
        bandwidth.spend(100)
    assert clock.now - 3600.0 >= 9.0
