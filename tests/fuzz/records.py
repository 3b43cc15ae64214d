"""Patients' records under fuzz: HL7 messages, each of which is answered, and FHIR documents."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from fhir_records import bundle, condition, ndjson, observation, patient
from hl7_messages import AUTHORITY, header, message, mrg, obx, pid

from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.migrate import migrate
from dicom_node.ehr_settings import EhrSettings
from dicom_node.errors import DicomNodeError
from dicom_node.exchange.fhir import read
from dicom_node.exchange.hl7v2 import parse
from dicom_node.sidecars.ehr.extract import extract
from dicom_node.sidecars.ehr.mapping import FeatureMapping, load
from dicom_node.sidecars.ehr.messages import Messages

UNIT = "mL/min/{1.73_m2}"
SETTINGS = EhrSettings.model_validate(
    {"default_issuer": "HOSP", "identifiers": [{"system": AUTHORITY, "issuer": "HOSP"}]}
)


def hl7(data: bytes) -> None:
    """A message: whatever it is, its answer can be read, and names the reason where it is not taken."""
    answer = parse(_messages().answer(data)).first("MSA")
    assert answer.field(1) in ("AA", "AE", "AR")
    assert answer.field(1) == "AA" or answer.field(3), "a refusal without a reason"


def fhir(data: bytes) -> None:
    """A document: refused by name, or its resources are sound, or each has a reason why it is not."""
    with contextlib.suppress(DicomNodeError):
        found = read(data, "fuzz")
        assert all(each.reason for each in found.refused)
        told = extract(found.resources, _mapping(), "fuzz")
        assert all(each.value is not None or each.reason for each in told.features)


def hl7_seeds() -> Iterator[bytes]:
    """One of each kind that is followed."""
    yield message(header("ADT^A04"), "EVN|A04|20260301120000", pid())
    yield message(header("ADT^A40", "2"), pid("NEW"), mrg("SYN-1"), pid("A"), mrg("B"))
    yield message(header("ADT^A45", "3"), pid("NEW"), f"{mrg('SYN-1')}||||V1")
    yield message(header("ADT^A37", "4"), pid("NEW"), pid("SYN-1"))
    yield message(header("ORU^R01", "5", charset="8859/1"), pid(), "OBR|1||F1", obx("33914-3", "88", UNIT))
    yield message(header("ORM^O01", "6"), pid(), "ORC|NW|P1|F1", f"OBR|1|P1|F1|CT{'|' * 14}A1", "TQ1|1||||||||S")


def fhir_seeds() -> Iterator[bytes]:
    """Bundles and NDJSON, with what the mapping takes."""
    pressure = observation("85354-9", 0, "", "o2", valueQuantity=None)
    pressure["component"] = [
        {"code": observation("8480-6", 1, "")["code"], "valueQuantity": {"value": 120, "code": "mm[Hg]"}}
    ]
    yield bundle(patient(), observation("33914-3", 88, UNIT), condition("13645005"))
    yield bundle(patient(), pressure)
    yield ndjson(patient(), observation("33914-3", 88, UNIT))


@lru_cache(maxsize=1)
def _mapping() -> FeatureMapping:
    return load()


@lru_cache(maxsize=1)
def _messages() -> Messages:
    """With a ledger in memory, where there is such a place."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if os.access(memory, os.W_OK) else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    database = Database("sqlite", folder)
    migrate(database)
    return Messages(SETTINGS, database, ObjectStore(folder), _mapping())
