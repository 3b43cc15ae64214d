"""Lanes: one for each destination, none in the way of another."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Generator, Sequence
from datetime import UTC, datetime

import pytest
from deliveries import Bench, ScriptedPeer
from sqlalchemy import update

from dicom_node.archive.claims import Claims
from dicom_node.archive.schema import job
from dicom_node.delivery.courier import Courier
from dicom_node.delivery.destination import Paid
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.sending import OutgoingObject, SendOutcome
from dicom_node.errors import DicomNodeError
from dicom_node.settings import PeerSettings


def test_a_stalled_destination_delays_no_other(bench: Bench) -> None:
    stalled, fine = bench.add("pacs"), bench.add("other")
    go_on, opened = threading.Event(), []

    class Stalling(ScriptedPeer):
        def send(
            self, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
        ) -> Generator[SendOutcome, None, None]:
            opened.append(peer.name)
            if peer.name == "pacs":
                assert go_on.wait(30)
            yield from super().send(peer, objects, paid)

    bench.scripted = Stalling()
    courier = Courier(bench.settings, bench.parcels, {"dicom": bench.scripted})
    assert courier.tick() == 2
    while bench.parcel(fine).state != ParcelState.PRESENT:
        assert courier.tick() in (0, 1)
    later = bench.add("other")
    while bench.parcel(later).state != ParcelState.PRESENT:
        courier.tick()
    assert bench.parcel(stalled).state == ParcelState.DUE
    go_on.set()
    assert courier.settle(30)
    assert bench.parcel(stalled).state == ParcelState.PRESENT
    assert opened.count("pacs") == 1  # it got no second lane while it stalled
    courier.close()


def test_trouble_of_ours_is_told_once(bench: Bench) -> None:
    bench.add()
    go_on = threading.Event()

    class Broken(ScriptedPeer):
        def send(
            self, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
        ) -> Generator[SendOutcome, None, None]:
            assert go_on.wait(30)
            raise DicomNodeError("the ledger is away")
            yield

    courier = Courier(bench.settings, bench.parcels, {"dicom": Broken()})
    courier.tick()
    go_on.set()
    assert courier.settle(30)
    with pytest.raises(DicomNodeError, match="the ledger is away"):
        courier.tick()
    courier.close()
    assert courier.settle(30)


def test_nothing_due_starts_nothing(bench: Bench) -> None:
    courier = Courier(bench.settings, bench.parcels, bench.destinations)
    assert courier.tick() == 0
    courier.close()


def with_entry(bench: Bench, **update: object) -> Bench:
    """With another entry for ``pacs``."""
    pacs, *others = bench.settings.peers
    bench.settings = bench.settings.model_copy(update={"peers": (pacs.model_copy(update=update), *others)})
    return bench


def test_a_destination_is_sent_several_parcels_at_the_same_time(bench: Bench) -> None:
    with_entry(bench, connections=3)
    numbers = [bench.add() for _ in range(6)]
    together = threading.Barrier(3, timeout=60)  # three must be on their way before any arrives
    met = threading.Event()

    class Slow(ScriptedPeer):
        def send(
            self, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
        ) -> Generator[SendOutcome, None, None]:
            if not met.is_set():
                together.wait()
                met.set()
            yield from super().send(peer, objects, paid)

    slow = Slow()
    courier = Courier(bench.settings, bench.parcels, {"dicom": slow})
    started = [courier.tick(), courier.tick(), courier.tick(), courier.tick()]
    assert started == [1, 1, 1, 0]
    deadline = time.monotonic() + 120
    while bench.parcels.counts() != {"present": 6}:
        assert time.monotonic() < deadline, bench.parcels.counts()
        courier.tick()
        time.sleep(0.01)
    courier.close()
    sent = [uid for association in slow.associations for uid in association]
    assert len(sent) == len(set(sent)) == 12  # nothing went twice
    assert {bench.parcel(number).tries for number in numbers} == {1}


def test_two_couriers_on_one_ledger_send_nothing_twice(bench: Bench) -> None:
    couriers = [Courier(bench.settings, bench.parcels, bench.destinations) for _ in range(2)]
    for courier in couriers:  # at its start each takes claims under this process's number for those of a dead one
        courier.tick()
    for _ in range(30):
        bench.add()
    deadline = time.monotonic() + 400
    while bench.parcels.counts() != {"present": 30}:
        assert time.monotonic() < deadline, bench.parcels.counts()
        for courier in couriers:
            courier.tick()
        time.sleep(0.01)
    for courier in couriers:
        courier.close()
    sent = [uid for association in bench.peer.associations for uid in association]
    assert len(sent) == len(set(sent)) == 60


def test_outside_its_hours_a_destination_gets_stat_alone(bench: Bench) -> None:
    with_entry(bench, send_hours=("19:00-07:00",), stat_any_time=True)
    bench.settings = bench.settings.model_copy(
        update={"node": bench.settings.node.model_copy(update={"time_zone": "UTC"})}
    )
    routine, stat = bench.add(), bench.add()
    with bench.database.write() as connection:
        connection.execute(update(job).where(job.c.id == bench.parcel(routine).job_id).values(priority=2))
        connection.execute(update(job).where(job.c.id == bench.parcel(stat).job_id).values(priority=0))
    at = [datetime(2026, 3, 2, 12, tzinfo=UTC)]
    courier = Courier(bench.settings, bench.parcels, bench.destinations, clock=lambda: at[0])
    assert courier.tick() == 1
    assert courier.settle(30)
    assert courier.tick() == 0
    assert bench.parcel(stat).state == ParcelState.PRESENT
    assert (bench.parcel(routine).state, bench.parcel(routine).tries) == (ParcelState.DUE, 0)
    at[0] = datetime(2026, 3, 2, 20, tzinfo=UTC)
    assert courier.tick() == 1
    assert courier.settle(30)
    assert bench.parcel(routine).state == ParcelState.PRESENT
    courier.close()


def test_what_a_dead_courier_had_claimed_is_sent_at_once(bench: Bench) -> None:
    bench.add()
    (number,) = Claims(bench.database).to_send("pacs", f"{socket.gethostname()}:{os.getpid()}:before/1", 3600, 9)
    courier = Courier(bench.settings, bench.parcels, bench.destinations)
    assert courier.tick() == 1
    assert courier.settle(30)
    assert bench.parcel(number).state == ParcelState.PRESENT
    courier.close()


def test_a_destination_is_sent_no_faster_than_its_entry_says(bench: Bench) -> None:
    with_entry(bench, send_bytes_per_second=1000)
    bench.add(objects=3)
    waited: list[float] = []

    class Metered(ScriptedPeer):
        def send(
            self, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
        ) -> Generator[SendOutcome, None, None]:
            for _ in objects:
                start = time.monotonic()
                paid(600)
                waited.append(time.monotonic() - start)
            yield from super().send(peer, objects, paid)

    courier = Courier(bench.settings, bench.parcels, {"dicom": Metered()})
    courier.tick()
    assert courier.settle(60)
    assert sum(waited) >= 0.6  # 1800 bytes, of which a burst of 500 and the last one need no pause
    courier.close()
