from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.dimse.pace import Patience, Throttle, TimeLimits
from dicom_node.settings import PeerSettings

LIMITS = TimeLimits(pdu_s=10, idle_s=100, slowest_bytes_per_s=50, window_s=20)


def test_an_association_may_be_silent_for_its_limit() -> None:
    patience = Patience(LIMITS)
    patience.waited(99)
    assert (patience.fault(), patience.left()) == ("", 1)
    patience.waited(1)
    assert (patience.fault(), patience.left()) == ("silent for 100 s", 0)


def test_any_byte_ends_silence() -> None:
    patience = Patience(LIMITS)
    patience.waited(99)
    patience.received(68, pdus=1, partial=False, busy=False)
    patience.waited(99)
    assert patience.fault() == ""


def test_bytes_that_dribble_do_not_make_a_pdu_last() -> None:
    patience = Patience(LIMITS)
    for _ in range(10):
        assert patience.fault() == ""
        patience.received(1, pdus=1, partial=True, busy=False)
        patience.waited(1)
    assert patience.fault() == "a PDU is not whole after 10 s"


def test_each_pdu_has_its_own_time() -> None:
    patience = Patience(LIMITS)
    for pdus in range(1, 20):
        patience.received(500, pdus=pdus, partial=True, busy=True)
        patience.waited(9)
        assert patience.fault() == ""


def test_a_message_that_comes_too_slowly_ends() -> None:
    patience = Patience(LIMITS)
    for pdus in range(1, 21):
        assert patience.fault() == ""
        patience.received(49, pdus=pdus, partial=False, busy=True)
        patience.waited(1)
    assert patience.fault() == "980 bytes in 20 s, in the middle of a message"


def test_a_message_at_the_slowest_rate_goes_on_for_ever() -> None:
    patience = Patience(LIMITS)
    for pdus in range(1, 1000):
        patience.received(50, pdus=pdus, partial=False, busy=True)
        patience.waited(1)
        assert patience.fault() == ""


def test_pauses_between_messages_are_no_slowness() -> None:
    patience = Patience(LIMITS)
    for pdus in range(1, 50):
        patience.received(10, pdus=pdus, partial=False, busy=False)
        patience.waited(90)
        assert patience.fault() == ""


def test_any_rate_is_good_where_none_is_asked_for() -> None:
    patience = Patience(TimeLimits(pdu_s=10, idle_s=100, slowest_bytes_per_s=0, window_s=20))
    patience.received(1, pdus=1, partial=False, busy=True)
    patience.waited(99)
    assert (patience.fault(), patience.left()) == ("", 1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    rate=st.integers(1, 10_000),
    sizes=st.lists(st.integers(0, 100_000), min_size=1, max_size=30),
    idle=st.lists(st.floats(0, 5), min_size=30, max_size=30),
)
def test_what_comes_in_any_time_is_at_most_the_rate_and_a_burst(rate: int, sizes: list[int], idle: list[float]) -> None:
    clock = Clock()
    throttle = Throttle(bytes_per_s=rate, clock=clock)
    sent = 0
    for size, pause in zip(sizes, idle, strict=False):
        sent += size
        clock.now += throttle.spend(1, size)
        assert sent <= rate * (clock.now - 1000 + 1) * (1 + 1e-9) + 1e-6
        clock.now += pause


def test_objects_are_counted_apart_and_the_longer_pause_holds() -> None:
    clock = Clock()
    throttle = Throttle(objects_per_s=2, bytes_per_s=1000, clock=clock)
    clock.now += 100
    assert throttle.spend(2, 500) == 0  # the burst
    assert throttle.spend(1, 100) == pytest.approx(0.5)
    assert throttle.spend(0, 3000) == pytest.approx(2.6)


def test_only_a_peer_with_a_rate_is_slowed_down() -> None:
    peer = PeerSettings(name="ct", ae_title="CT", host="ct", port=104)
    assert Throttle.of(None) is None
    assert Throttle.of(peer) is None
    assert Throttle.of(peer.model_copy(update={"objects_per_second": 1.0})) is not None
