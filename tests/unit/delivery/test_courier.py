"""Lanes: one for each destination, none in the way of another."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Sequence

import pytest
from deliveries import Bench

from dicom_node.delivery.courier import Courier
from dicom_node.dimse.send import OutgoingObject, SendOutcome
from dicom_node.domain.parcel import ParcelState
from dicom_node.errors import DicomNodeError
from dicom_node.settings import PeerSettings


def test_a_stalled_destination_delays_no_other(bench: Bench) -> None:
    stalled, fine = bench.add("pacs"), bench.add("other")
    go_on, opened = threading.Event(), []

    def send(
        peer: PeerSettings, calling_ae: str, objects: Sequence[OutgoingObject]
    ) -> Generator[SendOutcome, None, None]:
        opened.append(peer.name)
        if peer.name == "pacs":
            assert go_on.wait(30)
        yield from bench.peer.send(peer, calling_ae, objects)

    courier = Courier(bench.settings, bench.parcels, send, bench.peer.holds)
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

    def send(
        peer: PeerSettings, calling_ae: str, objects: Sequence[OutgoingObject]
    ) -> Generator[SendOutcome, None, None]:
        assert go_on.wait(30)
        raise DicomNodeError("the ledger is away")
        yield

    def holds(peer: PeerSettings, calling_ae: str, study_uid: str, series_uids: Iterable[str]) -> frozenset[str]:
        return frozenset()

    courier = Courier(bench.settings, bench.parcels, send, holds)
    courier.tick()
    go_on.set()
    assert courier.settle(30)
    with pytest.raises(DicomNodeError, match="the ledger is away"):
        courier.tick()
    courier.close()
    assert courier.settle(30)


def test_nothing_due_starts_nothing(bench: Bench) -> None:
    courier = Courier(bench.settings, bench.parcels, bench.peer.send, bench.peer.holds)
    assert courier.tick() == 0
    courier.close()
