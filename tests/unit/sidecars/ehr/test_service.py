"""Whatever becomes of a record, neither names nor numbers nor values of patients stand in the logs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fhir_records import MRN, observation, patient
from fhir_server import FhirServer
from hl7_messages import AUTHORITY, header, message, mrg, obx, pid

from dicom_node import logs
from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.migrate import migrate
from dicom_node.ehr_settings import EhrSettings
from dicom_node.errors import DicomNodeError
from dicom_node.sidecars.ehr.changes import Follower
from dicom_node.sidecars.ehr.export import Exporter
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.ehr.messages import Messages
from dicom_node.sidecars.ehr.pull import Puller

UNIT = "mL/min/{1.73_m2}"
NUMBER, NAME = "NUMBER-4711", "Unmistakable"
SECRETS = (NUMBER, NAME, "88.25", "1964", "19640301")
MAPPING = load()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("test", level="DEBUG", file=tmp_path / "log.jsonl")
    yield tmp_path / "log.jsonl"
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("fault", ["", "401", "500", "429-long", "html", "truncated", "ignored", "elsewhere", "cut"])
def test_of_servers(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    person = patient(NUMBER, name=[{"family": NAME}])
    record = [person, observation("33914-3", 88.25, UNIT), observation("33914-3", 88.25, "wrong", "o2")]
    database = Database("sqlite", tmp_path / "data")
    migrate(database)
    store = ObjectStore(tmp_path / "data")
    with FhirServer(record) as server:
        told: dict[str, Any] = {"name": "epic", "url": server.url, "deadline_seconds": 3.0, "export": "Patient"}
        settings = EhrSettings.model_validate(
            {"identifiers": [{"system": MRN, "issuer": "HOSP"}], "servers": [told | {"page": 1}]}
        )
        (entry,) = settings.servers
        Puller(settings, database, store, MAPPING).pull(entry, "HOSP", NUMBER)
        for _ in range(3):
            server.faults = ["", fault]
            Puller(settings, database, store, MAPPING).ask("HOSP", NUMBER, ())
            for work in (
                Follower(settings, database, store, MAPPING).follow,
                Exporter(settings, database, store, MAPPING).step,
            ):
                server.faults = ["", fault]
                with contextlib.suppress(DicomNodeError):
                    work(entry)
    logging.getLogger("dicom_node.test").info("the end")
    database.close()
    _silent(log, capsys)


def test_of_messages(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = Database("sqlite", tmp_path / "data")
    migrate(database)
    settings = EhrSettings.model_validate({"identifiers": [{"system": AUTHORITY, "issuer": "HOSP"}]})
    messages = Messages(settings, database, ObjectStore(tmp_path / "data"), MAPPING)
    who = pid(NUMBER, NAME)
    for segments in (
        (header("ADT^A04"), who),
        (header("ADT^A40", "2"), who, mrg(NUMBER)),
        (header("ADT^A40", "3"), who),
        (header("ADT^A39", "4"), who, mrg(NUMBER)),
        (header("ADT^A08", "5", "19990101"), who),
        (header("ORU^R01", "6"), pid(NUMBER, NAME, of="ELSEWHERE"), obx("33914-3", "88.25", UNIT)),
        (header("ORU^R01", "7"), who, obx("33914-3", "88.25", "wrong")),
        (who, who),
    ):
        messages.answer(message(*segments))
    database.close()
    _silent(log, capsys)


def _silent(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = log.read_text() + capsys.readouterr().err
    assert written
    assert [secret for secret in SECRETS if secret in written] == []
