"""Orders are looked up in worklists: asked once, told apart, and never in the way of a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_node.archive.schema import imaging_order
from dicom_node.dimse.worklist import WorklistItem, issuer_in
from dicom_node.errors import PeerError
from dicom_node.jobs.orders import Worklist
from dicom_node.settings import PeerSettings, Settings

PEER = {"ae_title": "RIS", "host": "127.0.0.1", "port": 104}
STAT = WorklistItem("A1", "", "P1", "STAT")


class Bench:
    """A stage that asks worklists which answer as they are told."""

    def __init__(self, archive: Any, **answers: Sequence[WorklistItem] | PeerError) -> None:
        issuer = Dataset()
        issuer.LocalNamespaceEntityID = "HIS"
        archive.add(archive.image(1, IssuerOfAccessionNumberSequence=[issuer]))
        self.archive, self.answers = archive, answers
        self.asked: list[str] = []
        peers = [{**PEER, "name": name, "worklist": True} for name in answers]
        settings = Settings.model_validate({"node": {"data_dir": str(archive.data_dir)}, "peers": peers})
        self.stage = Worklist(settings, archive.database, self._ask, issuer_in)

    def _ask(self, peer: PeerSettings, calling_ae: str, accession: str, timeout_s: float) -> Sequence[WorklistItem]:
        self.asked.append(peer.name)
        answer = self.answers[peer.name]
        if isinstance(answer, PeerError):
            raise answer
        return answer

    def order(self) -> tuple[int | None, str, str]:
        (row,) = self.archive.rows(imaging_order)
        return row.priority, row.source, row.note


def test_an_order_is_asked_about_once(archive: Any) -> None:
    bench = Bench(archive, ris=[STAT])
    assert [bench.stage.tick(), bench.stage.tick()] == [1, 0]
    assert bench.order() == (0, "worklist ris", "")


@pytest.mark.parametrize(
    "item",
    [
        WorklistItem("A2", "", "P1", "STAT"),  # a server that does not match by accession number
        WorklistItem("A1", "", "P2", "STAT"),  # another patient
        WorklistItem("A1", "OTHER", "P1", "STAT"),  # another issuer
    ],
)
def test_what_is_not_this_order_is_left_out(archive: Any, item: WorklistItem) -> None:
    bench = Bench(archive, ris=[item])
    bench.stage.tick()
    assert bench.order() == (None, "worklist", "no worklist has the order")


@pytest.mark.parametrize(
    ("term", "priority"), [("STAT", 0), ("HIGH", 1), ("ROUTINE", 2), ("MEDIUM", 2), ("LOW", 2), ("", None), ("X", None)]
)
def test_terms_of_the_standard(archive: Any, term: str, priority: int | None) -> None:
    bench = Bench(archive, ris=[WorklistItem("A1", "", "", term)])
    bench.stage.tick()
    assert bench.order()[0] == priority


def test_the_most_urgent_of_several_steps_counts(archive: Any) -> None:
    bench = Bench(archive, ris=[WorklistItem("A1", "", "P1", "ROUTINE"), STAT])
    bench.stage.tick()
    assert bench.order()[0] == 0


def test_the_next_worklist_is_asked_where_one_is_away(archive: Any) -> None:
    bench = Bench(archive, away=PeerError("refused", reason="refused"), ris=[STAT])
    bench.stage.tick()
    assert bench.asked == ["away", "ris"]
    assert bench.order()[0] == 0


def test_a_worklist_that_is_away_is_noted_and_asked_again_later(archive: Any) -> None:
    bench = Bench(archive, away=PeerError("refused", reason="refused"))
    assert [bench.stage.tick(), bench.stage.tick()] == [1, 0]
    assert bench.order() == (None, "", "away could not be asked (refused)")
    assert archive.rows(imaging_order)[0].next_try is not None


def test_without_a_worklist_nobody_is_asked(archive: Any) -> None:
    bench = Bench(archive)
    assert bench.stage.tick() == 0
    assert bench.order()[0] is None
