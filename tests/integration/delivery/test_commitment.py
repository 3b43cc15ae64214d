"""Peers that are asked for Storage Commitment: Orthanc, and one that answers as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from deliveries import Bench, bench_in
from peers import Orthanc, free_port, wait_until
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from sqlalchemy import select

from dicom_node.archive.claims import Claims
from dicom_node.archive.database import Database
from dicom_node.archive.schema import commitment_request
from dicom_node.dimse.associate import echo
from dicom_node.domain.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_node.domain.parcel import ParcelState
from dicom_node.errors import PeerError
from dicom_node.reception.acceptor import run_acceptor
from dicom_node.settings import DeliverySettings, NodeSettings, PeerSettings, Settings

CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@dataclass
class ScriptedArchive:
    """Stores, finds what it has, and answers questions for commitment by ``failures``."""

    node_port: int
    ae_title: str = "PACS"
    commits: bool = True  # takes the Push Model at all
    action_status: int = 0x0000
    over: str = "same"  # the association of the question; "new": one of its own; "": it never reports
    failures: dict[str, int] = field(default_factory=dict)
    transaction: Callable[[str], str] = lambda uid: uid  # what it reports of
    port: int = field(default_factory=free_port)
    stored: list[str] = field(default_factory=list)
    asked: list[Dataset] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # statuses that its reports were answered with

    @contextmanager
    def running(self) -> Iterator[ScriptedArchive]:
        ae = AE(self.ae_title)
        ae.add_supported_context(CT)
        ae.add_supported_context(FIND)
        if self.commits:
            ae.add_supported_context(PUSH_MODEL)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_ACTION, self._act),
        ]
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield self
        finally:
            server.shutdown()

    def report(self, question: Dataset, association: Any = None) -> None:
        """Report over an association, or over a new one."""
        told = Dataset()
        told.TransactionUID = self.transaction(question.TransactionUID)
        items = list(question.ReferencedSOPSequence)
        failed = [item for item in items if item.ReferencedSOPInstanceUID in self.failures]
        told.ReferencedSOPSequence = [item for item in items if item not in failed]
        for item in failed:
            item.FailureReason = self.failures[item.ReferencedSOPInstanceUID]
        if failed:
            told.FailedSOPSequence = failed
        with ExitStack() as stack:
            if association is None:
                association = self._associate()
                stack.callback(association.release)
            status, _ = association.send_n_event_report(told, 2 if failed else 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            self.answers.append(status.Status)

    def _associate(self) -> Any:
        ae = AE(self.ae_title)
        ae.add_requested_context(PUSH_MODEL)
        roles = [build_role(PUSH_MODEL, scp_role=True)]
        association = ae.associate("127.0.0.1", self.node_port, ae_title="DICOMNODE", ext_neg=roles)
        assert association.is_established
        return association

    def _store(self, event: Any) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for uid in dict.fromkeys(self.stored):
            match = Dataset()
            match.QueryRetrieveLevel, match.SOPInstanceUID = "IMAGE", uid
            yield 0xFF00, match

    def _act(self, event: Any) -> tuple[int, None]:
        question = event.action_information
        self.asked.append(question)
        if self.action_status == 0 and self.over:
            association = event.assoc if self.over == "same" else None
            threading.Thread(target=self._later, args=(question, association), daemon=True).start()
        return self.action_status, None

    def _later(self, question: Dataset, association: Any) -> None:
        time.sleep(0.1)
        self.report(question, association)


@contextmanager
def _acceptor(settings: Settings) -> Iterator[None]:
    """Our acceptor, in a thread; everything else of the node reaches it through the ledger."""
    stop = threading.Event()
    thread = threading.Thread(target=run_acceptor, args=(settings, "a0", stop))
    thread.start()
    us = PeerSettings(name="us", ae_title="DICOMNODE", host="127.0.0.1", port=settings.node.port)

    def answers() -> bool:
        try:
            return echo(us, settings.peers[0].ae_title) > 0
        except PeerError:
            return False

    try:
        wait_until(answers, "the acceptor")
        yield
    finally:
        stop.set()
        thread.join(30)


def _bench(database: Database, folder: Path, *peers: PeerSettings, port: int, wait_s: float = 3600) -> Bench:
    bench = bench_in(database, folder, peers=peers)
    node = NodeSettings(data_dir=folder, host="127.0.0.1", port=port)
    pauses = DeliverySettings(verify_after_seconds=0, timeout_seconds=10, commitment_wait_seconds=wait_s)
    bench.settings = bench.settings.model_copy(update={"node": node, "delivery": pauses})
    return bench


def _entry(port: int, name: str = "pacs", ae_title: str = "PACS") -> PeerSettings:
    return PeerSettings(name=name, ae_title=ae_title, host="127.0.0.1", port=port, verify="commitment")


def _requests(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(commitment_request).order_by(commitment_request.c.id)).all())


@pytest.fixture
def archive() -> Iterator[ScriptedArchive]:
    with ScriptedArchive(free_port()).running() as made:
        yield made


@pytest.mark.peer
def test_orthanc_commits_over_an_association_of_its_own(database: Database, tmp_path: Path, orthanc: Orthanc) -> None:
    port = free_port()
    orthanc.know("node", "DICOMNODE", port)
    bench = _bench(database, tmp_path, _entry(orthanc.dicom_port, ae_title="ORTHANC"), port=port)
    whole, gone = bench.add(), bench.add(objects=3)
    with _acceptor(bench.settings):
        bench.lane._deliver(bench.parcels.due("pacs"), bench.settings.peers[0], set())
        lost = bench.parcel(gone).artifacts[1].sop_uid
        (held,) = [each for each in orthanc.instances() if each.sop_instance_uid == lost]
        orthanc.request("DELETE", f"/instances/{held.id}")
        bench.lane.run("pacs")
        wait_until(lambda: all(row.state == "answered" for row in _requests(database)), "Orthanc's reports")
        bench.lane.run("pacs")
        assert bench.parcel(whole).state == ParcelState.COMMITTED
        assert bench.parcel(whole).verification == "committed to by Storage Commitment"
        parcel = bench.parcel(gone)
        assert parcel.error["reason"] == "not-committed"
        assert "1 of 3: 0x0112 no such object instance" in parcel.error["message"]
        assert [made.sop_uid for made in parcel.missing] == [lost]
        bench.run()
        wait_until(lambda: len(_requests(database)) == 3 and not _open(database), "the report of what was sent again")
        bench.lane.run("pacs")
        assert bench.parcel(gone).state == ParcelState.COMMITTED
    assert len(orthanc.instances()) == 5


def _open(database: Database) -> list[Any]:
    return [row for row in _requests(database) if row.state == "asked"]


def test_a_report_over_the_association_of_the_question(
    database: Database, tmp_path: Path, archive: ScriptedArchive
) -> None:
    bench = _bench(database, tmp_path, _entry(archive.port), port=archive.node_port)
    bench.same_association_s = 20
    first, second = bench.add(), bench.add(objects=150)
    bench.run()
    assert archive.answers == [0, 0]
    bench.lane.run("pacs")
    for number in (first, second):
        assert bench.parcel(number).state == ParcelState.COMMITTED
        assert bench.told(number)[-3:] == ["commitment asked", "commitment answered", "parcel committed"]
    assert len(archive.stored) == 152
    assert [row.state for row in _requests(database)] == ["settled", "settled"]


def test_a_report_that_comes_late_and_after_restarts(
    database: Database, tmp_path: Path, archive: ScriptedArchive
) -> None:
    archive.over = ""
    bench = _bench(database, tmp_path, _entry(archive.port), port=archive.node_port)
    bench.same_association_s = 0
    number = bench.add()
    bench.run()
    assert bench.parcel(number).verification == "asked for commitment; no answer yet"
    bench.run(3)  # each time with a lane that knows nothing of the one before
    assert len(archive.asked) == 1  # the answer may still come
    (question,) = archive.asked
    assert question.TransactionUID == _requests(database)[0].transaction_uid
    with _acceptor(bench.settings):
        archive.report(question)
    assert archive.answers == [0]
    bench.lane.run("pacs")
    assert bench.parcel(number).state == ParcelState.COMMITTED
    with _acceptor(bench.settings):
        archive.report(question)  # told again, it changes nothing
    bench.lane.run("pacs")
    assert archive.answers == [0, 0]
    assert bench.parcel(number).state == ParcelState.COMMITTED


def test_only_what_it_has_not_got_is_sent_again(database: Database, tmp_path: Path, archive: ScriptedArchive) -> None:
    bench = _bench(database, tmp_path, _entry(archive.port), port=archive.node_port)
    bench.same_association_s = 20
    number = bench.add(objects=3)
    uids = [made.sop_uid for made in bench.parcel(number).artifacts]
    archive.failures = {uids[1]: 0x0112}
    bench.run(2)
    archive.failures = {}
    bench.run(2)
    bench.lane.run("pacs")
    assert archive.stored == [*uids, uids[1]]
    assert bench.parcel(number).state == ParcelState.COMMITTED


def test_what_it_never_gets_is_a_matter_for_a_person(
    database: Database, tmp_path: Path, archive: ScriptedArchive
) -> None:
    bench = _bench(database, tmp_path, _entry(archive.port), port=archive.node_port)
    bench.same_association_s = 20
    number = bench.add()
    archive.failures = {bench.parcel(number).artifacts[0].sop_uid: 0x0112}
    bench.run(10)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.error["reason"]) == (ParcelState.REFUSED, "not-committed")
    assert len(archive.asked) == 3


def test_a_refusal_by_reason_is_told(database: Database, tmp_path: Path, archive: ScriptedArchive) -> None:
    bench = _bench(database, tmp_path, _entry(archive.port), port=archive.node_port)
    bench.same_association_s = 20
    number = bench.add()
    archive.failures = {bench.parcel(number).artifacts[0].sop_uid: 0x0119}
    bench.run(2)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.error["reason"]) == (ParcelState.REFUSED, "not-committed")
    assert parcel.error["message"] == "pacs does not commit: 1 of 2: 0x0119 class-instance conflict"
    assert "parcels retry" in parcel.error["remedy"]


def test_a_failure_of_the_moment_is_asked_about_again(
    database: Database, tmp_path: Path, archive: ScriptedArchive
) -> None:
    bench = _bench(database, tmp_path, _entry(archive.port), port=archive.node_port)
    bench.same_association_s = 20
    number = bench.add()
    archive.failures = {bench.parcel(number).artifacts[0].sop_uid: 0x0213}
    bench.run(2)
    assert bench.parcel(number).state == ParcelState.SENT
    assert "0x0213 resource limitation" in bench.parcel(number).verification
    archive.failures = {}
    bench.run(2)
    assert bench.parcel(number).state == ParcelState.COMMITTED
    assert len(archive.stored) == 2


def test_a_transaction_that_it_was_not_asked_for_counts_for_nothing(
    database: Database, tmp_path: Path, archive: ScriptedArchive
) -> None:
    archive.transaction = lambda uid: "2.25.999"
    bench = _bench(database, tmp_path, _entry(archive.port), port=archive.node_port)
    bench.same_association_s = 2
    number = bench.add()
    bench.run()
    assert archive.answers == [0x0115]
    archive.transaction = lambda uid: uid
    other = ScriptedArchive(archive.node_port, ae_title="OTHER")
    entries = (*bench.settings.peers, _entry(archive.port, "other", "OTHER"))
    with _acceptor(bench.settings.model_copy(update={"peers": entries})):
        other.report(archive.asked[0])
        assert other.answers == [0x0115]
        bench.lane.run("pacs")
        assert bench.parcel(number).state == ParcelState.SENT
        archive.report(archive.asked[0])
    bench.lane.run("pacs")
    assert bench.parcel(number).state == ParcelState.COMMITTED


@pytest.mark.parametrize("still_asked", [True, False])
def test_a_peer_that_never_reports_is_looked_into_and_may_still_report(
    database: Database, tmp_path: Path, archive: ScriptedArchive, still_asked: bool
) -> None:
    archive.over = ""
    bench = _bench(database, tmp_path, _entry(archive.port), port=archive.node_port, wait_s=0.01)
    bench.same_association_s = 0
    number = bench.add()
    bench.run(4)
    parcel = bench.parcel(number)
    assert len(archive.asked) == len({question.TransactionUID for question in archive.asked}) == 3
    assert (parcel.state, parcel.verification) == (
        ParcelState.PRESENT,
        "found by C-FIND; pacs was asked 3 times for commitment in vain",
    )
    with _acceptor(bench.settings):
        archive.report(archive.asked[1])
    looked_into = bench.settings.peers[0].model_copy(update={"verify": "find"})
    changed = replace(bench, settings=bench.settings.model_copy(update={"peers": (looked_into,)}))
    if still_asked:
        bench.lane.run("pacs")
        assert bench.parcel(number).state == ParcelState.COMMITTED
    else:  # the settings have changed meanwhile
        changed.lane.run("pacs")
        assert bench.parcel(number) == replace(parcel, state=ParcelState.PRESENT)
        assert Claims(database).destinations() == frozenset()


@pytest.mark.parametrize(
    ("commits", "status", "words"), [(False, 0, "is not accepted"), (True, 0x0122, "answers 0x0122")]
)
def test_a_peer_that_does_not_commit_is_looked_into_at_once(
    database: Database, tmp_path: Path, commits: bool, status: int, words: str
) -> None:
    with ScriptedArchive(free_port(), commits=commits, action_status=status).running() as archive:
        bench = _bench(database, tmp_path, _entry(archive.port), port=archive.node_port)
        number = bench.add()
        bench.run()
        parcel = bench.parcel(number)
        assert parcel.state == ParcelState.PRESENT
        assert parcel.verification.startswith("found by C-FIND; ")
        assert words in parcel.verification


def test_a_peer_that_is_away_is_asked_when_it_is_back(database: Database, tmp_path: Path) -> None:
    archive = ScriptedArchive(free_port())
    bench = _bench(database, tmp_path, _entry(archive.port), port=archive.node_port)
    bench.same_association_s = 20
    with archive.running():
        number = bench.add()
        bench.lane._deliver(bench.parcels.due("pacs"), bench.settings.peers[0], set())
    bench.run(5)
    assert bench.parcel(number).state == ParcelState.SENT
    assert "not asked yet" in bench.parcel(number).verification
    with archive.running():
        bench.run(2)
    assert bench.parcel(number).state == ParcelState.COMMITTED


def test_one_that_is_not_asked_may_not_report(database: Database, tmp_path: Path, archive: ScriptedArchive) -> None:
    entry = _entry(archive.port).model_copy(update={"verify": "find", "commitment": "archive", "commitment_days": 1})
    bench = _bench(database, tmp_path, entry, port=archive.node_port)
    question = Dataset()
    question.TransactionUID, question.ReferencedSOPSequence = "2.25.1", []
    with _acceptor(bench.settings):
        archive.report(question)
    assert archive.answers == [0x0124]
