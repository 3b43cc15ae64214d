"""Sidecars: HL7 messages over MLLP, durable in the ledger before AA; and the features of one patient of a FHIR server.

The FHIR server is Medplum's router in memory, with patients of the real data, or our own of the tests where there is no
Node.js or no data. The listener is a process of its own, as in service.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from fhir_records import MRN, condition, observation, patient
from fhir_server import FhirServer
from hl7_messages import AUTHORITY, header, message, obx, pid
from medplum import Medplum
from peers import free_port

from benchmarks.table import Row, report, version_of
from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.migrate import migrate
from dicom_node.ehr_settings import EhrSettings
from dicom_node.exchange.mllp import END, frame
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.ehr.pull import Puller

MESSAGES_PER_S = 500.0
PULL_MS = 300.0
SENDERS = 8  # connections, each of which waits for its answer
MESSAGES = 4000  # of all
PATIENTS = 200
PULLS = 9
UNIT = "mL/min/{1.73_m2}"
DATA = os.environ.get("DICOM_NODE_TEST_DATA")


def main() -> int:
    """Both figures, and the table."""
    notes = [f"{SENDERS} connections, {MESSAGES} ORU messages of {PATIENTS} patients; each waits for its AA"]
    rows = [_messages(), _features(notes)]
    return report("sidecars", rows, {"node": version_of("node", "--version")}, notes=notes)


def _messages() -> Row:
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "dicom-node.toml").write_text(
            f'[node]\ndata_dir = "data"\n[ehr]\ndefault_issuer = "HOSP"\n[[ehr.identifiers]]\nsystem = "{AUTHORITY}"\n'
            f'issuer = "HOSP"\n[ehr.hl7]\nport = {port}\nmaximum_connections = {SENDERS}\n'
        )
        database = Database("sqlite", folder / "data")
        migrate(database)
        command = [sys.executable, "-m", "dicom_node.cli.main", "--config", str(folder / "dicom-node.toml")]
        with subprocess.Popen([*command, "sidecar", "ehr"]) as process:
            try:
                _wait(port)
                seconds = _send_all(port)
            finally:
                process.terminate()
        features = Features(database)
        kept = sum(
            len(features.of_patient(features.identity("HOSP", f"P{number}"), ("egfr",))) for number in range(PATIENTS)
        )
        database.close()
    if kept != MESSAGES:
        raise SystemExit(f"{kept} of {MESSAGES} messages stand in the ledger")
    return Row("HL7 messages, durable before AA", "1/s", MESSAGES / seconds, goal=MESSAGES_PER_S, better="more")


def _send_all(port: int) -> float:
    def send(sender: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(sender, MESSAGES, SENDERS):
                oru = (header("ORU^R01", f"{number}"), pid(f"P{number % PATIENTS}"), f"OBR|1||F{number}")
                connection.sendall(frame(message(*oru, obx("33914-3", f"{30 + number % 60}", UNIT))))
                answer = b""
                while not answer.endswith(END):
                    answer += connection.recv(4096)
                if b"MSA|AA" not in answer:
                    raise SystemExit(answer.decode())

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(SENDERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _wait(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _features(notes: list[str]) -> Row:
    """The median of pulls, each into a ledger that knows nothing of the patient."""
    if DATA and shutil.which("npm"):
        bundle = sorted((Path(DATA) / "ehr" / "fhir").glob("*.json"))[0].read_bytes()
        entries = [entry["resource"] for entry in json.loads(bundle)["entry"]]
        (person,) = (each for each in entries if each["resourceType"] == "Patient")
        system = "http://hospital.smarthealthit.org"
        number = next(each["value"] for each in person["identifier"] if each["system"] == system)
        with Medplum() as server:
            server.load(bundle)
            notes.append(f"one of the real patients, {len(entries)} resources, from Medplum's router")
            return _pulls(server.url, system, number)
    record = [observation("33914-3", 50 + n, UNIT, f"o{n}") for n in range(100)]
    with FhirServer([patient(), *record, condition("13645005")]) as own:
        notes.append("no npm or no data: a patient of 102 resources, from the server of the tests")
        return _pulls(own.url, MRN, "P1")


def _pulls(url: str, system: str, number: str) -> Row:
    told = {"name": "server", "url": url, "page": 1000, "deadline_seconds": 30.0}
    settings = EhrSettings.model_validate({"identifiers": [{"system": system, "issuer": "H"}], "servers": [told]})
    mapping, took = load(), []
    for _ in range(PULLS):
        with tempfile.TemporaryDirectory() as folder:
            database = Database("sqlite", Path(folder))
            migrate(database)
            puller = Puller(settings, database, ObjectStore(Path(folder)), mapping)
            began = time.perf_counter()
            report_ = puller.pull(settings.servers[0], "H", number)
            took.append((time.perf_counter() - began) * 1000)
            database.close()
            if report_.refused or not report_.features:
                raise SystemExit(f"the server's answer is not taken: {report_.refused}")
    return Row("features of one patient from FHIR", "ms", statistics.median(took), goal=PULL_MS)


if __name__ == "__main__":
    sys.exit(main())
