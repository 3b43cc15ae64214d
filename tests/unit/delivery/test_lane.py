"""What becomes of parcels, whatever the peer does."""

from __future__ import annotations

import pytest
from deliveries import LOST, Bench

from dicom_node.domain.parcel import ParcelState
from dicom_node.errors import LedgerError


def test_parcels_go_over_one_association_and_are_found(bench: Bench) -> None:
    first, second = bench.add(), bench.add()
    bench.run()
    assert len(bench.peer.associations) == 1
    for number in (first, second):
        parcel = bench.parcel(number)
        assert (parcel.state, parcel.tries, parcel.error) == (ParcelState.PRESENT, 1, None)
        assert parcel.taken == {made.sop_uid for made in parcel.artifacts}
        assert bench.told(number) == ["parcel sent", "parcel present"]


def test_what_was_taken_is_not_sent_again(bench: Bench) -> None:
    number = bench.add(objects=3)
    uids = [made.sop_uid for made in bench.parcel(number).artifacts]
    bench.peer.answer = lambda each: "out-of-resources" if each.sop_instance_uid == uids[1] else ""
    bench.run()
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.taken) == (ParcelState.DUE, {uids[0], uids[2]})
    assert parcel.error["reason"] == "out-of-resources"
    assert "1 of 3 objects" in parcel.error["message"]
    bench.peer.answer = lambda each: ""
    bench.run()
    assert bench.peer.associations == [uids, [uids[1]]]
    assert bench.parcel(number).state == ParcelState.PRESENT


@pytest.mark.parametrize("reason", ["context-refused", "object-refused"])
def test_a_refusal_for_good_waits_for_a_person(bench: Bench, reason: str) -> None:
    number = bench.add()
    bench.peer.answer = lambda each: reason
    bench.run(2)
    assert bench.parcel(number).state == ParcelState.DUE
    bench.run(2)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.tries, parcel.error["reason"]) == (ParcelState.REFUSED, 3, reason)
    assert "parcels retry" in parcel.error["remedy"]
    assert bench.told(number) == ["parcel not sent", "parcel refused"]
    bench.peer.answer = lambda each: ""
    bench.parcels.retry(number, "admin")
    bench.run()
    assert bench.parcel(number).state == ParcelState.PRESENT


@pytest.mark.parametrize("reason", ["out-of-resources", "peer-failure", "unreadable-file", *LOST])
def test_other_failures_are_tried_for_ever(bench: Bench, reason: str) -> None:
    number = bench.add()
    bench.peer.answer = lambda each: reason
    bench.run(7)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.tries, parcel.error["reason"]) == (ParcelState.DUE, 7, reason)
    assert parcel.error["remedy"]


def test_refusals_count_only_in_a_row(bench: Bench) -> None:
    number = bench.add()
    for reason in ("object-refused", "object-refused", "out-of-resources", "object-refused", "object-refused"):
        bench.peer.answer = lambda each, reason=reason: reason
        bench.run()
    assert bench.parcel(number).state == ParcelState.DUE


def test_an_object_on_which_the_association_is_lost_hinders_no_other(bench: Bench) -> None:
    poisoned, fine = bench.add(objects=3), bench.add()
    poison = bench.parcel(poisoned).artifacts[0].sop_uid
    bench.peer.answer = lambda each: "aborted" if each.sop_instance_uid == poison else ""
    bench.run()
    assert bench.parcel(fine).state == ParcelState.PRESENT
    assert bench.parcel(fine).tries == 1  # its turn had not come when the association was lost
    bench.run()
    assert bench.parcel(poisoned).state == ParcelState.DUE
    assert [made.sop_uid for made in bench.parcel(poisoned).missing] == [poison]


def test_an_unreachable_peer_puts_off_everything_at_once(bench: Bench) -> None:
    numbers = [bench.add() for _ in range(25)]
    bench.peer.unreachable = True
    bench.run(2)
    for number in numbers:
        parcel = bench.parcel(number)
        assert (parcel.state, parcel.tries, parcel.refusals) == (ParcelState.DUE, 2, 0)
        assert parcel.error == {"reason": "refused", "message": "pacs: connection refused", "remedy": "start it"}
    assert bench.parcels.due("pacs") == ()
    bench.peer.unreachable = False
    bench.run()
    assert bench.parcels.counts() == {"present": 25}
    assert len(bench.peer.associations) == 2


def test_a_destination_that_is_not_configured_any_more_is_told(bench: Bench) -> None:
    number = bench.add("gone")
    bench.lane.run("gone")
    assert bench.parcel(number).error["reason"] == "unknown-peer"


def test_a_stop_keeps_what_was_taken(bench: Bench) -> None:
    number = bench.add(objects=3)
    uids = [made.sop_uid for made in bench.parcel(number).artifacts]

    def stop_at_the_second(each: object) -> str:
        if getattr(each, "sop_instance_uid", "") == uids[1]:
            bench.stop.set()
        return ""

    bench.peer.answer = stop_at_the_second
    bench.run()
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.tries, parcel.taken) == (ParcelState.DUE, 0, {uids[0], uids[1]})


def test_what_is_held_is_not_sent_until_it_is_released(bench: Bench) -> None:
    number = bench.add()
    bench.parcels.hold(number, "admin", "asked by the ward")
    bench.run()
    assert (bench.parcel(number).state, bench.peer.associations) == (ParcelState.HELD, [])
    assert bench.parcel(number).error["message"] == "asked by the ward"
    bench.parcels.release(number, "admin")
    bench.run()
    assert bench.parcel(number).state == ParcelState.PRESENT
    with pytest.raises(LedgerError, match="is present"):
        bench.parcels.hold(number, "admin")
    with pytest.raises(LedgerError, match="is not held"):
        bench.parcels.release(number, "admin")


def test_a_parcel_that_had_arrived_is_sent_whole_again_by_hand(bench: Bench) -> None:
    number = bench.add()
    bench.run()
    bench.parcels.retry(number, "admin")
    bench.run()
    assert [len(objects) for objects in bench.peer.associations] == [2, 2]
