"""Following a server: what changed and what was deleted of patients we know, and nothing of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fhir_records import MRN, observation, patient
from fhir_server import FhirServer

from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.record_syncs import state_of
from dicom_node.ehr_settings import EhrSettings
from dicom_node.errors import PeerError
from dicom_node.sidecars.ehr.changes import KIND, Follower
from dicom_node.sidecars.ehr.importer import Report
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.ehr.pull import Puller

UNIT = "mL/min/{1.73_m2}"
MAPPING = load()
LATER = "2999-01-01T00:00:00Z"


@pytest.fixture
def server() -> Iterator[FhirServer]:
    stranger = [patient("P2", "b"), observation("33914-3", 9, UNIT, "o9", subject={"reference": "Patient/b"})]
    mine = [patient(), observation("33914-3", 88, UNIT), observation("33914-3", 70, UNIT, "o2")]
    with FhirServer([*mine, *stranger]) as made:
        yield made


@pytest.fixture
def follower(server: FhirServer, database: Database) -> Follower:
    told = {"name": "epic", "url": server.url, "deadline_seconds": 3.0, "page": 1}
    settings = EhrSettings.model_validate({"identifiers": [{"system": MRN, "issuer": "HOSP"}], "servers": [told]})
    store = ObjectStore(database.data_dir)
    Puller(settings, database, store, MAPPING).pull(settings.servers[0], "HOSP", "P1")
    return Follower(settings, database, store, MAPPING)


def follow(follower: Follower) -> Report:
    return follower.follow(follower._settings.servers[0])


def values(database: Database, number: str = "P1") -> set[Any]:
    features = Features(database)
    return {f.value for f in features.of_patient(features.identity("HOSP", number)) if f.name == "egfr"}


def test_what_changed_is_taken_and_of_nobody_else(follower: Follower, server: FhirServer, database: Database) -> None:
    follow(follower)
    since = state_of(database, "epic", KIND)["since"]
    server.resources[1] = observation("33914-3", 61, UNIT, meta={"versionId": "2", "lastUpdated": LATER})
    server.asked.clear()
    follow(follower)
    assert values(database) == {61.0, 70.0}
    changed = [path for path in server.asked if "_lastUpdated" in path]
    assert changed
    assert not any("Patient%2Fb" in path for path in server.asked)
    assert values(database, "P2") == set()
    assert state_of(database, "epic", KIND)["since"] >= since


def test_what_was_deleted_counts_no_more(follower: Follower, server: FhirServer, database: Database) -> None:
    del server.resources[2]
    follow(follower)
    assert values(database) == {88.0}


def test_what_is_only_not_listed_stays(follower: Follower, server: FhirServer, database: Database) -> None:
    hidden = server.resources[2]
    searched = server.search
    server.search = lambda kind, asked: [each for each in searched(kind, asked) if each is not hidden]  # type: ignore[method-assign]
    follow(follower)
    assert values(database) == {88.0, 70.0}


def test_a_patient_who_was_deleted_is_used_no_more(follower: Follower, server: FhirServer, database: Database) -> None:
    del server.resources[:3]
    follow(follower)
    features = Features(database)
    (record,) = features.records(features.identity("HOSP", "P1"))
    assert record.standing == "deleted"


def test_trouble_leaves_the_time_as_it_was(follower: Follower, server: FhirServer, database: Database) -> None:
    follow(follower)
    before = state_of(database, "epic", KIND)
    server.faults = ["", "", "500"]
    with pytest.raises(PeerError):
        follow(follower)
    assert state_of(database, "epic", KIND) == before
    assert values(database) == {88.0, 70.0}
