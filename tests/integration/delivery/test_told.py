"""Results as FHIR and as HL7: told once, through broken connections and a killed courier; renewed by readers' words."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fhir_taker import FhirTaker
from peers import wait_until
from result_cases import series
from studies_of_results import Clinic

from dicom_node.archive import assessments, result_views
from dicom_node.archive.assessments import Verdict
from dicom_node.archive.database import Database
from dicom_node.archive.migrate import migrate
from dicom_node.archive.withdrawals import Withdrawal, withdraw
from dicom_node.cli.peers import answer
from dicom_node.domain.parcel import ParcelState
from dicom_node.exchange.hl7v2 import Message, parse
from dicom_node.exchange.mllp import END, START, frame
from dicom_node.settings import Settings, load

MRN = "urn:oid:1.2.3.4"
COURIER = """
import sys, threading
from pathlib import Path
from dicom_node.archive.database import Database
from dicom_node.archive.parcels import Parcels
from dicom_node.delivery.commit import Committer
from dicom_node.delivery.kinds import kinds_of_destinations
from dicom_node.delivery.lane import Lane
from dicom_node.delivery.verify import Verifier
from dicom_node.settings import load

settings = load(Path(sys.argv[1]), {}).settings
parcels = Parcels(Database(settings.database.url, settings.node.data_dir))
kinds = kinds_of_destinations(settings)
committer = Committer(settings, parcels, Verifier(settings, parcels, kinds), 0.5)
for _ in range(2):
    Lane(settings, parcels, kinds, committer, threading.Event()).run(sys.argv[2])
"""


@dataclass
class Receiver:
    """Takes messages over MLLP; ``codes`` are its acknowledgements, one after the other, AA when they are used up."""

    codes: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    _socket: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                data = b""
                while END not in data and (block := connection.recv(65536)):
                    data += block
                if END not in data:
                    continue
                message = parse(data[data.find(START) + 1 : data.find(END)])
                self.messages.append(message)
                code = self.codes.pop(0) if self.codes else "AA"
                if code != "none":
                    told = f"MSH|^~\\&|HIS||NODE||20260301||ACK|1|P|2.5.1\rMSA|{code}|{message.control_id}|as told\r"
                    connection.sendall(frame(told.encode()))


@dataclass
class Ward:
    """A result of one patient, a FHIR server and an HL7 receiver."""

    file: Path
    settings: Settings
    clinic: Clinic
    fhir: FhirTaker
    his: Receiver

    def courier(self, destination: str, *, wait: bool = True) -> subprocess.Popen[bytes]:
        """A courier of its own process sends what is due there."""
        with self.clinic.database.write() as connection:
            connection.exec_driver_sql("UPDATE parcel SET next_try = 0, claimed_by = NULL, claimed_until = NULL")
            connection.exec_driver_sql("UPDATE parcel SET verify_at = 0 WHERE verify_at IS NOT NULL")
        ran = subprocess.Popen([sys.executable, "-c", COURIER, str(self.file), destination])
        if wait:
            assert ran.wait(60) == 0
        return ran

    def state(self, destination: str, purpose: str = "result") -> ParcelState:
        return next(p.state for p in self.clinic.parcels.all() if p.destination == destination and p.purpose == purpose)

    def again(self) -> int:
        return result_views.tell_again(self.clinic.database, ["ehr", "his"], "courier")


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    patient = {"resourceType": "Patient", "id": "p1", "identifier": [{"system": MRN, "value": "SYN-1"}]}
    with FhirTaker([patient]) as fhir, Receiver() as his:
        file = tmp_path / "dicom-node.toml"
        file.write_text(
            f'[node]\ndata_dir = "data"\n[ehr]\ndefault_issuer = "HOSP"\n'
            f'[[ehr.identifiers]]\nsystem = "{MRN}"\nissuer = "HOSP"\n'
            f"[delivery]\nverify_after_seconds = 0\ntimeout_seconds = 5\n"
            f'[[peers]]\nname = "ehr"\nkind = "fhir"\nurl = "{fhir.url}"\n'
            f'[[peers]]\nname = "his"\nkind = "hl7"\nhost = "127.0.0.1"\nport = {his.port}\n'
        )
        settings = load(file, {}).settings
        database = Database("sqlite", settings.node.data_dir)
        migrate(database)
        clinic = Clinic(database, settings.node.data_dir)
        clinic.result(series(), destinations=("ehr", "his"))
        yield Ward(file, settings, clinic, fhir, his)
        database.close()


def job_id(ward: Ward) -> int:
    return ward.clinic.ledger.jobs()[0].id


def test_a_result_is_told_once_as_fhir_through_a_lost_answer_and_a_killed_courier(ward: Ward) -> None:
    ward.fhir.before.append(lambda handler: handler.answer(503, {"resourceType": "OperationOutcome"}))
    ward.courier("ehr")
    assert (ward.fhir.transactions, ward.state("ehr")) == (0, ParcelState.DUE)
    # The server has stored it, and the answer is lost: it is told again, and nothing is doubled.
    ward.fhir.after.append(lambda handler: handler.hang_up())
    ward.courier("ehr")
    assert (ward.fhir.transactions, ward.state("ehr")) == (1, ParcelState.DUE)
    # The courier dies while the server thinks.
    thinking = threading.Event()
    ward.fhir.after.append(lambda handler: (thinking.set(), thinking.wait(30)) and handler.hang_up())  # type: ignore[func-returns-value]
    dying = ward.courier("ehr", wait=False)
    wait_until(thinking.is_set, 30)
    os.kill(dying.pid, signal.SIGKILL)
    dying.wait()
    ward.courier("ehr")
    assert ward.state("ehr") is ParcelState.PRESENT  # found by its identifier, with its status
    assert ward.fhir.transactions == 3
    counts = {kind: len(ward.fhir.of(kind)) for kind in ("DiagnosticReport", "ImagingStudy", "Provenance")}
    assert counts == {"DiagnosticReport": 1, "ImagingStudy": 1, "Provenance": 1}
    (report,) = ward.fhir.of("DiagnosticReport")
    assert report["status"] == "preliminary"
    assert report["subject"]["reference"] == "Patient/p1"
    assert report["imagingStudy"][0]["reference"] == f"ImagingStudy/{ward.fhir.of('ImagingStudy')[0]['id']}"
    found = [row for row in ward.clinic.ledger.findings(job_id(ward)) if row["kind"] in ("measurement", "evaluation")]
    observations = ward.fhir.of("Observation")
    assert len(observations) == len(found) == len(report["result"])
    values = {each["valueQuantity"]["value"] for each in observations if "valueQuantity" in each}
    assert values == {row["value"] for row in found if row["kind"] == "measurement"}


def test_a_readers_word_and_a_withdrawal_reach_both(ward: Ward) -> None:
    for name in ("ehr", "his"):
        ward.courier(name)
    assert ward.again() == 0
    assessments.assess(ward.clinic.database, ward.clinic.desk, job_id(ward), (Verdict.ACCEPT, "Dr Rita", ""), "Dr Rita")
    assert ward.again() == 2
    for name in ("ehr", "his"):
        ward.courier(name)
    assert ward.again() == 0
    (report,) = ward.fhir.of("DiagnosticReport")
    assert report["status"] == "final" and "Dr Rita" in report["conclusion"]
    assert {each["status"] for each in ward.fhir.of("Observation")} == {"final"}
    first, second = ward.his.messages
    assert (first.first("OBR").field(25), second.first("OBR").field(25)) == ("P", "F")
    assert first.control_id != second.control_id

    order = Withdrawal(job_id(ward), "the wrong patient")
    withdraw(ward.clinic.database, ward.clinic.desk, order, (), "a person")
    for name in ("ehr", "his"):
        ward.courier(name)
    (report,) = ward.fhir.of("DiagnosticReport")
    assert report["status"] == "entered-in-error"
    assert {each["status"] for each in ward.fhir.of("Observation")} == {"entered-in-error"}
    assert {segment.field(11) for segment in ward.his.messages[-1].named("OBX")} == {"W"}


def test_a_result_that_another_replaces_is_taken_back(ward: Ward) -> None:
    for name in ("ehr", "his"):
        ward.courier(name)
    images = series()
    second = ward.clinic.plan(destinations=("ehr", "his"), key="0" * 64)
    ward.clinic.commit(second, images)
    assert ward.again() == 2
    for name in ("ehr", "his"):
        ward.courier(name)
    assert ward.again() == 0
    assert sorted(each["status"] for each in ward.fhir.of("DiagnosticReport")) == ["entered-in-error", "preliminary"]


def test_nobody_is_told_of_a_patient_whom_the_server_does_not_know(ward: Ward) -> None:
    ward.fhir.resources.clear()
    for _ in range(3):
        ward.courier("ehr")
    assert ward.state("ehr") is ParcelState.REFUSED
    (parcel,) = (each for each in ward.clinic.parcels.all() if each.destination == "ehr")
    assert parcel.error is not None and "knows 0 patients" in parcel.error["message"]
    assert ward.fhir.resources == []


def test_a_message_that_is_not_acknowledged_is_sent_again_as_the_same(ward: Ward) -> None:
    ward.his.codes[:] = ["none", "AR"]
    for _ in range(3):
        ward.courier("his")
    assert ward.state("his") is ParcelState.SENT
    assert len({message.control_id for message in ward.his.messages}) == 1
    message = ward.his.messages[-1]
    assert (message.kind, message.trigger, message.version) == ("ORU", "R01", "2.5.1")
    assert message.first("PID").field(3) == "SYN-1^^^HOSP"
    numbers = [segment for segment in message.named("OBX") if segment.field(2) == "NM"]
    found = [row for row in ward.clinic.ledger.findings(job_id(ward)) if row["kind"] == "measurement"]
    assert [float(segment.field(5)) for segment in numbers] == pytest.approx([row["value"] for row in found])
    assert {segment.field(11) for segment in message.named("OBX")} == {"P"}


def test_a_message_that_is_refused_waits_for_a_person(ward: Ward) -> None:
    ward.his.codes[:] = ["AE"] * 3
    for _ in range(3):
        ward.courier("his")
    assert ward.state("his") is ParcelState.REFUSED


def test_peers_echo_tells_whether_they_are_there(ward: Ward) -> None:
    told: list[dict[str, Any]] = [answer(ward.settings, peer, 2.0) for peer in ward.settings.peers]
    assert [each["good"] for each in told] == [True, True]
