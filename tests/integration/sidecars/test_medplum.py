"""Our FHIR client against a server that others wrote: what it finds of real patients is what their bundles say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from medplum import Medplum

from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.migrate import migrate
from dicom_node.archive.record_syncs import people_of
from dicom_node.ehr_settings import EhrSettings
from dicom_node.errors import PeerError
from dicom_node.sidecars.ehr.changes import Follower
from dicom_node.sidecars.ehr.importer import Importer
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.ehr.pull import Puller

SYSTEM = "http://hospital.smarthealthit.org"
MAPPING = load()
PATIENTS = 4


@pytest.fixture(scope="module")
def bundles(test_data: Path) -> list[Path]:
    return sorted((test_data / "ehr" / "fhir").glob("*.json"))[:PATIENTS]


@pytest.fixture(scope="module")
def medplum(bundles: list[Path]) -> Iterator[Medplum]:
    with Medplum() as server:
        for bundle in bundles:
            server.load(bundle.read_bytes())
        yield server


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    made: list[Database] = []

    def make(name: str) -> Database:
        (tmp_path / name).mkdir()
        made.append(Database("sqlite", tmp_path / name))
        migrate(made[-1])
        return made[-1]

    yield make
    for database in made:
        database.close()


def settings(server: Medplum, page: int = 1000) -> EhrSettings:
    told = {"name": "medplum", "url": server.url, "page": page, "deadline_seconds": 60.0}
    return EhrSettings.model_validate({"identifiers": [{"system": SYSTEM, "issuer": "HOSP"}], "servers": [told]})


def number_in(bundle: Path) -> str:
    (person,) = (e["resource"] for e in json.loads(bundle.read_bytes())["entry"] if "birthDate" in e["resource"])
    return str(next(each["value"] for each in person["identifier"] if each["system"] == SYSTEM))


def said(database: Database, number: str) -> list[tuple[Any, ...]]:
    features = Features(database)
    found = features.of_patient(features.identity("HOSP", number))
    return sorted((f.name, str(f.value), f.unit, f.state, f.effective_at, f.reason) for f in found)


def test_the_features_of_patients_are_those_of_their_bundles(
    medplum: Medplum, bundles: list[Path], ledger: Callable[[str], Database]
) -> None:
    asked, read = ledger("asked"), ledger("read")
    told = settings(medplum)
    for bundle in bundles:
        Importer(told, read, ObjectStore(read.data_dir), MAPPING, "files").folder(bundle)
        puller = Puller(told, asked, ObjectStore(asked.data_dir), MAPPING)
        report = puller.pull(told.servers[0], "HOSP", number_in(bundle))
        assert report.refused == []
        found = said(asked, number_in(bundle))
        assert {"bmi", "sbp", "smoking_status"} <= {each[0] for each in found}
        assert found == said(read, number_in(bundle))


def test_what_a_server_leaves_out_without_a_next_page_is_told(
    medplum: Medplum, bundles: list[Path], ledger: Callable[[str], Database]
) -> None:
    database, told = ledger("asked"), settings(medplum, page=5)
    with pytest.raises(PeerError) as caught:
        Puller(told, database, ObjectStore(database.data_dir), MAPPING).pull(
            told.servers[0], "HOSP", number_in(bundles[0])
        )
    assert caught.value.reason == "incomplete"


def test_changes_and_deletions_are_followed(
    medplum: Medplum, bundles: list[Path], ledger: Callable[[str], Database]
) -> None:
    database, told = ledger("asked"), settings(medplum)
    store, (server,) = ObjectStore(database.data_dir), told.servers
    for bundle in bundles[:2]:
        Puller(told, database, store, MAPPING).pull(server, "HOSP", number_in(bundle))
    follower = Follower(told, database, store, MAPPING)
    follower.follow(server)
    number = number_in(bundles[0])
    before, others = said(database, number), said(database, number_in(bundles[1]))
    (person,) = [name for name, mine in people_of(database, "medplum").items() if ("HOSP", number) in mine]
    medplum.change("Observation", person)
    medplum.delete("Observation", person)
    follower.follow(server)
    after = said(database, number)
    assert len(after) == len(before) - 1
    assert len(set(after) - set(before)) == 1
    assert said(database, number_in(bundles[1])) == others


def test_a_number_that_nobody_has(medplum: Medplum, ledger: Callable[[str], Database]) -> None:
    database, told = ledger("asked"), settings(medplum)
    report = Puller(told, database, ObjectStore(database.data_dir), MAPPING).pull(told.servers[0], "HOSP", "nobody")
    assert [each.reason for each in report.refused] == ["0 patients have the number"]
