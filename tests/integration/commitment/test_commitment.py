"""Storage Commitment with real peers: pynetdicom over the same and over a new association, and Orthanc."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from peers import Orthanc, free_port, storescu, wait_until
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from sqlalchemy import select

from dicom_node.archive.commitments import Commitments
from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.index import Index
from dicom_node.archive.migrate import migrate
from dicom_node.archive.schema import commitment, instance
from dicom_node.dimse.associate import echo
from dicom_node.dimse.commitment import send_report
from dicom_node.domain.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_node.errors import PeerError
from dicom_node.reception.acceptor import run_acceptor
from dicom_node.reception.commitment import Reporter, Verifier
from dicom_node.reception.hints import HintListener
from dicom_node.reception.indexer import Indexer
from dicom_node.settings import DeliverySettings, NodeSettings, PeerSettings, Settings

CT = "1.2.840.10008.5.1.4.1.1.2"


def image(number: int, rows: int = 8) -> Dataset:
    """A CT image of zeros."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CT, f"1.2.3.1.1.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3.1", "1.2.3.1.1"
    made.PatientID, made.PatientName, made.Modality = "P1", "Doe^Jane", "CT"
    made.StudyDate, made.StudyTime, made.AccessionNumber, made.StudyID = "20260301", "120000", "A1", "1"
    made.PatientBirthDate, made.PatientSex, made.ReferringPhysicianName = "", "", ""
    made.SeriesNumber, made.InstanceNumber = 1, number
    made.Rows = made.Columns = rows
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelData = bytes(2 * rows * rows)
    return made


@dataclass
class CommittingNode:
    """An acceptor, and the stages of the node that answer for objects; each is stopped and started alone."""

    folder: Path
    peer: PeerSettings
    port: int = field(default_factory=free_port)
    stops: list[tuple[threading.Event, threading.Thread]] = field(default_factory=list)

    def __post_init__(self) -> None:
        node = NodeSettings(host="127.0.0.1", port=self.port, data_dir=self.folder)
        pauses = DeliverySettings(first_pause_seconds=0.1, longest_pause_seconds=0.5)
        self.settings = Settings(node=node, peers=(self.peer,), delivery=pauses)
        self.database = Database("sqlite", self.folder)
        migrate(self.database)

    def accept(self) -> None:
        """Run the acceptor, and wait until it answers."""
        self._run(lambda stop: run_acceptor(self.settings, "a0", stop))
        us = PeerSettings(name="us", ae_title="DICOMNODE", host="127.0.0.1", port=self.port)

        def answers() -> bool:
            try:
                return echo(us, self.peer.ae_title) > 0
            except PeerError:
                return False

        wait_until(answers, "the acceptor")

    def work(self) -> None:
        """Run indexer, verifier and reporter."""
        index, store = Index(self.database, self.folder), ObjectStore(self.folder)
        hints = HintListener(store.places.hints)
        indexer = Indexer(index, store, hints)
        ledger = Commitments(self.database)
        verifier, reporter = Verifier(self.settings, ledger, index, store), Reporter(self.settings, ledger, send_report)

        def follow(stop: threading.Event) -> None:
            while not stop.is_set():
                indexer.tick()
            hints.close()

        def answer(stop: threading.Event) -> None:
            while not stop.wait(0.05):
                verifier.tick()
                reporter.tick()

        self._run(follow)
        self._run(answer)

    def stop(self) -> None:
        """Stop all of it; the ledger stays open to look into."""
        while self.stops:
            stop, thread = self.stops.pop()
            stop.set()
            thread.join(30)

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table."""
        with self.database.read() as connection:
            return list(connection.execute(select(table).order_by(table.c.id)).all())

    def state(self) -> str:
        """That of the only request, empty while there is none."""
        rows = self.rows(commitment)
        return rows[0].state if rows else ""

    def _run(self, work: Any) -> None:
        stop = threading.Event()
        thread = threading.Thread(target=work, args=(stop,))
        thread.start()
        self.stops.append((stop, thread))


@dataclass
class Modality:
    """A stock pynetdicom that stores, asks for commitment, and listens for reports."""

    node_port: int
    port: int
    status: int = 0x0000  # what it answers reports with
    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    server: Any = None

    def listen(self) -> None:
        """Take reports on associations of the node."""
        ae = AE("SCANNER")
        ae.add_supported_context(PUSH_MODEL, scu_role=False, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self.take)]
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def take(self, event: Any) -> tuple[int, None]:
        """Keep a report."""
        self.reports.append((event.event_type, event.event_information))
        return self.status, None

    def associate(self) -> Any:
        """An association for storage and commitment."""
        ae = AE("SCANNER")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        contexts = [build_context(CT, ExplicitVRLittleEndian), build_context(PUSH_MODEL)]
        handlers = [(evt.EVT_N_EVENT_REPORT, self.take)]
        return ae.associate("127.0.0.1", self.node_port, contexts, ae_title="DICOMNODE", evt_handlers=handlers)

    def uids(self, number: int = 0) -> tuple[list[str], list[tuple[str, int]]]:
        """Committed and refused objects of a report."""
        told = self.reports[number][1]
        good = [item.ReferencedSOPInstanceUID for item in told.get("ReferencedSOPSequence", [])]
        bad = [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in told.get("FailedSOPSequence", [])]
        return good, bad


def ask(association: Any, *uids: str, transaction: str = "1.2.9.1", action: int = 1, sop_class: str = CT) -> int:
    """Ask for commitment; the status of the response."""
    wanted = Dataset()
    wanted.TransactionUID = transaction
    wanted.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        wanted.ReferencedSOPSequence.append(item)
    status, _ = association.send_n_action(wanted, action, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    return int(status.Status)


@pytest.fixture
def modality_port() -> int:
    return free_port()


@pytest.fixture
def node(tmp_path: Path, modality_port: int) -> Iterator[CommittingNode]:
    peer = PeerSettings(
        name="scanner",
        ae_title="SCANNER",
        host="127.0.0.1",
        port=modality_port,
        commitment="archive",
        commitment_days=30,
    )
    made = CommittingNode(tmp_path / "node", peer)
    yield made
    made.stop()
    made.database.close()


@pytest.fixture
def modality(node: CommittingNode, modality_port: int) -> Iterator[Modality]:
    made = Modality(node.port, modality_port)
    yield made
    if made.server is not None:
        made.server.shutdown()


def store(association: Any, *numbers: int) -> None:
    for number in numbers:
        assert association.send_c_store(image(number)).Status == 0x0000


def test_a_report_over_a_new_association_right_behind_the_objects(node: CommittingNode, modality: Modality) -> None:
    modality.listen()
    node.accept()
    node.work()
    association = modality.associate()
    store(association, 1, 2, 3)
    assert ask(association, "1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.1.3") == 0x0000
    association.release()
    wait_until(lambda: node.state() == "reported", "the report")
    assert modality.uids() == (["1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.1.3"], [])
    assert (modality.reports[0][0], modality.reports[0][1].TransactionUID) == (1, "1.2.9.1")
    days = {(row.kept_until - row.received_at).days for row in node.rows(instance)}
    assert days <= {29, 30}


def test_a_report_over_the_same_association_while_it_stores_on(node: CommittingNode, modality: Modality) -> None:
    node.accept()
    node.work()
    association = modality.associate()
    store(association, 1)
    assert ask(association, "1.2.3.1.1.1", *(f"1.2.3.1.1.{number}" for number in range(1000, 3000))) == 0x0000
    number = 1
    while not modality.reports and number < 2000:
        number += 1
        store(association, number)
    wait_until(lambda: node.state() == "reported", "the answer to the report")
    store(association, number + 1)
    association.release()
    good, bad = modality.uids()
    assert (good, len(bad)) == (["1.2.3.1.1.1"], 2000)
    assert modality.reports[0][0] == 2
    assert {reason for _, reason in bad} == {0x0112}


def test_several_transactions_of_one_association(node: CommittingNode, modality: Modality) -> None:
    node.accept()
    node.work()
    association = modality.associate()
    store(association, 1, 2)
    assert ask(association, "1.2.3.1.1.1", transaction="1.2.9.1") == 0x0000
    assert ask(association, "1.2.3.1.1.2", transaction="1.2.9.2") == 0x0000
    wait_until(lambda: len(modality.reports) == 2, "both reports")
    wait_until(lambda: [row.state for row in node.rows(commitment)] == ["reported"] * 2, "both answers")
    association.release()
    assert {told.TransactionUID for _, told in modality.reports} == {"1.2.9.1", "1.2.9.2"}


def test_what_is_not_sound_is_not_committed(node: CommittingNode, modality: Modality) -> None:
    node.accept()
    node.work()
    modality.listen()
    association = modality.associate()
    store(association, 1, 2, 3, 4)
    wait_until(lambda: len(node.rows(instance)) == 4, "the index")
    paths = [node.folder / row.path for row in node.rows(instance)]
    changed = bytearray(paths[1].read_bytes())
    changed[-1] ^= 1
    paths[1].write_bytes(changed)
    paths[2].unlink()
    paths[3].write_bytes(paths[3].read_bytes()[:-10])
    wanted = [f"1.2.3.1.1.{number}" for number in range(1, 6)]
    assert ask(association, *wanted) == 0x0000
    association.release()
    wait_until(lambda: node.state() == "reported", "the report")
    good, bad = modality.uids()
    assert good == ["1.2.3.1.1.1"]
    assert bad == [("1.2.3.1.1.2", 0x110), ("1.2.3.1.1.3", 0x110), ("1.2.3.1.1.4", 0x110), ("1.2.3.1.1.5", 0x112)]
    assert [row.kept_until is None for row in node.rows(instance)] == [False, True, True, True]


def test_a_very_large_request_is_taken(node: CommittingNode, modality: Modality) -> None:
    modality.listen()
    node.accept()
    node.work()
    association = modality.associate()
    store(association, 1)
    prefix = "1.2.826.0.1.3680043.8.498.1234567890.1234567890.12345"
    assert ask(association, "1.2.3.1.1.1", *(f"{prefix}.{number}" for number in range(15_000))) == 0x0000
    association.release()
    wait_until(lambda: node.state() == "reported", "the report", seconds=60)
    good, bad = modality.uids()
    assert (good, len(bad)) == (["1.2.3.1.1.1"], 15_000)


def test_another_sop_class_is_a_conflict(node: CommittingNode, modality: Modality) -> None:
    node.accept()
    node.work()
    modality.listen()
    association = modality.associate()
    store(association, 1)
    assert ask(association, "1.2.3.1.1.1", sop_class="1.2.840.10008.5.1.4.1.1.4") == 0x0000
    association.release()
    wait_until(lambda: modality.reports, "the report")
    assert modality.uids() == ([], [("1.2.3.1.1.1", 0x0119)])


def test_a_request_survives_a_restart_and_a_peer_that_is_away(node: CommittingNode, modality: Modality) -> None:
    node.accept()
    association = modality.associate()
    store(association, 1)
    assert ask(association, "1.2.3.1.1.1") == 0x0000
    association.abort()
    node.stop()
    assert node.state() == "requested"

    node.work()
    wait_until(lambda: node.state() == "verified" and node.rows(commitment)[0].tries > 1, "some tries", seconds=60)
    assert node.rows(commitment)[0].error["reason"] == "unreachable"
    node.stop()

    modality.listen()
    node.work()
    wait_until(lambda: node.state() == "reported", "the report")
    assert modality.uids() == (["1.2.3.1.1.1"], [])


def test_a_peer_in_trouble_is_told_again(node: CommittingNode, modality: Modality) -> None:
    modality.status = 0x0110
    modality.listen()
    node.accept()
    node.work()
    association = modality.associate()
    store(association, 1)
    assert ask(association, "1.2.3.1.1.1") == 0x0000
    association.release()
    wait_until(lambda: len(modality.reports) >= 2, "the second report")
    assert node.state() == "verified"
    modality.status = 0x0000
    wait_until(lambda: node.state() == "reported", "its answer")


def test_a_request_repeated_is_reported_again_and_another_of_its_name_refused(
    node: CommittingNode, modality: Modality
) -> None:
    modality.listen()
    node.accept()
    node.work()
    for count in (1, 2):
        association = modality.associate()
        store(association, 1)
        assert ask(association, "1.2.3.1.1.1") == 0x0000
        association.release()
        wait_until(lambda count=count: len(modality.reports) == count, "the report")
    association = modality.associate()
    assert ask(association, "1.2.3.1.1.2") == 0x0115
    association.release()
    assert len(node.rows(commitment)) == 1


def test_requests_that_are_wrong_are_refused_at_once(node: CommittingNode, modality: Modality) -> None:
    node.accept()
    association = modality.associate()
    assert ask(association, "1.2.3", action=2) == 0x0123
    assert ask(association) == 0x0115
    assert ask(association, "1.2.3", transaction="x") == 0x0115
    association.release()
    assert node.rows(commitment) == []


def test_nobody_may_ask_unless_the_settings_say_so(tmp_path: Path, modality_port: int) -> None:
    peer = PeerSettings(name="scanner", ae_title="SCANNER", host="127.0.0.1", port=modality_port)
    node = CommittingNode(tmp_path / "node", peer)
    try:
        node.accept()
        association = Modality(node.port, modality_port).associate()
        assert [cx.abstract_syntax for cx in association.accepted_contexts] == [CT]
        association.release()
    finally:
        node.stop()
        node.database.close()


@pytest.mark.peer
def test_orthanc_is_told(tmp_path: Path) -> None:
    server = Orthanc(tmp_path / "orthanc")
    peer = PeerSettings(
        name="pacs",
        ae_title=server.aet,
        host="127.0.0.1",
        port=server.dicom_port,
        commitment="archive",
        commitment_days=1,
    )
    node = CommittingNode(tmp_path / "node", peer)
    server.modalities["node"] = ("DICOMNODE", "127.0.0.1", node.port)
    try:
        server.start()
        node.accept()
        node.work()
        images = [tmp_path / f"{number}.dcm" for number in (1, 2)]
        for number, file in enumerate(images, start=1):
            image(number).save_as(file, enforce_file_format=True)
        sent = storescu(server.dicom_port, *images, called=server.aet)
        assert sent.returncode == 0, sent.stderr
        server.request("POST", "/modalities/node/store", server.get("/instances"))
        missing = [CT, "1.2.3.4.5.6.7"]
        asked = server.request(
            "POST",
            "/modalities/node/storage-commitment",
            {"DicomInstances": [[CT, "1.2.3.1.1.1"], [CT, "1.2.3.1.1.2"], missing]},
        )
        transaction = json.loads(asked)["ID"]

        def told() -> Any:
            report = server.get(f"/storage-commitment/{transaction}")
            return report if report["Status"] != "Pending" else None

        report = wait_until(told, "Orthanc to have the report")
        assert {one["SOPInstanceUID"] for one in report["Success"]} == {"1.2.3.1.1.1", "1.2.3.1.1.2"}
        assert [one["SOPInstanceUID"] for one in report["Failures"]] == ["1.2.3.4.5.6.7"]
        wait_until(lambda: node.state() == "reported", "Orthanc's answer")
    finally:
        node.stop()
        server.stop()
        node.database.close()
