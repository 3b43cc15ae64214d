"""Sent is not yet present."""

from __future__ import annotations

from dataclasses import replace

import pytest
from deliveries import Bench

from dicom_node.archive.claims import Claims
from dicom_node.domain.parcel import ParcelState


def test_what_is_not_found_is_sent_again(bench: Bench) -> None:
    number = bench.add()
    bench.peer.forgetful = True
    bench.run(2)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.checks) == (ParcelState.SENT, 2)
    assert parcel.verification == "pacs does not show 2 of 2 objects yet"
    bench.run()
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.taken, parcel.losses) == (ParcelState.DUE, frozenset(), 1)
    assert parcel.error["reason"] == "not-found"
    bench.peer.forgetful = False
    bench.run()
    assert bench.parcel(number).state == ParcelState.PRESENT
    assert bench.told(number) == ["parcel sent", "parcel lost", "parcel sent", "parcel present"]


def test_only_what_is_gone_is_sent_again(bench: Bench) -> None:
    number = bench.add()
    bench.peer.forgetful = True
    kept, gone = (made.sop_uid for made in bench.parcel(number).artifacts)
    bench.peer.held = {kept}
    bench.run(3)
    bench.peer.forgetful = False
    bench.run()
    assert bench.peer.associations == [[kept, gone], [gone]]


def test_a_peer_that_never_shows_what_it_takes_is_a_matter_for_a_person(bench: Bench) -> None:
    number = bench.add()
    bench.peer.forgetful = True
    bench.run(12)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.error["reason"]) == (ParcelState.REFUSED, "not-found")
    assert "answered with Success 3 time(s)" in parcel.error["message"]
    assert 'verify = "none"' in parcel.error["remedy"]
    assert len(bench.peer.associations) == 3


@pytest.mark.parametrize(("reason", "looks"), [("context-refused", 1), ("status", 3)])
def test_a_peer_that_cannot_tell_is_left_with_its_word(bench: Bench, reason: str, looks: int) -> None:
    number = bench.add()
    bench.peer.cannot_tell = reason
    bench.run(looks)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.verification) == (ParcelState.SENT, f"sent, cannot be verified: pacs: {reason}")
    assert Claims(bench.database).destinations() == frozenset()
    assert bench.told(number) == ["parcel sent", "parcel cannot be verified"]


def test_a_peer_that_is_away_is_asked_until_it_is_there(bench: Bench) -> None:
    number = bench.add()
    bench.peer.cannot_tell = "no-answer"
    bench.run(10)
    assert (bench.parcel(number).state, bench.parcel(number).checks) == (ParcelState.SENT, 10)
    bench.peer.cannot_tell = ""
    bench.run()
    assert bench.parcel(number).state == ParcelState.PRESENT


def test_a_peer_whose_word_is_enough_is_not_asked(bench: Bench) -> None:
    peers = tuple(peer.model_copy(update={"verify": "none"}) for peer in bench.settings.peers)
    trusting = replace(bench, settings=bench.settings.model_copy(update={"peers": peers}))
    number = trusting.add()
    trusting.run()
    assert (trusting.parcel(number).state, trusting.parcel(number).verification) == (ParcelState.SENT, "not looked for")
