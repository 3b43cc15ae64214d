"""Bulk Data exports: begun, waited for, taken in once, gone on with after trouble; and tokens kept at home."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fhir_exports import AT
from fhir_records import MRN, condition, observation, patient
from fhir_server import FhirServer, register

from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.files import ObjectStore
from dicom_node.ehr_settings import EhrSettings, ServerSettings
from dicom_node.errors import PeerError
from dicom_node.sidecars.ehr.export import Exporter
from dicom_node.sidecars.ehr.importer import Report
from dicom_node.sidecars.ehr.mapping import load

UNIT = "mL/min/{1.73_m2}"
MAPPING = load()
EGFR = observation("33914-3", 88, UNIT)
OTHERS = observation("33914-3", 40, UNIT, "o9", subject={"reference": "Patient/b"})


@pytest.fixture
def server() -> Iterator[FhirServer]:
    with FhirServer([condition("13645005"), EGFR, OTHERS, patient(), patient("P2", "b")]) as made:
        yield made


@pytest.fixture
def exporter(server: FhirServer, database: Database) -> Exporter:
    return Exporter(settings(server), database, ObjectStore(database.data_dir), MAPPING)


def settings(server: FhirServer, **more: Any) -> EhrSettings:
    told = {"name": "epic", "url": server.url, "deadline_seconds": 3.0, "export": "Group/all", **more}
    return EhrSettings.model_validate({"identifiers": [{"system": MRN, "issuer": "HOSP"}], "servers": [told]})


def at(exporter: Exporter) -> ServerSettings:
    return exporter._settings.servers[0]


def whole(exporter: Exporter) -> Report:
    """All steps; none of them waits for long."""
    for _ in range(10):
        if isinstance(came := exporter.step(at(exporter)), Report):
            return came
        assert came <= 1.0
    raise AssertionError("the export never ends")


def values(database: Database, number: str = "P1") -> dict[str, Any]:
    features = Features(database)
    return {each.name: each.value for each in features.of_patient(features.identity("HOSP", number))}


def test_everybody_is_taken_in_and_the_next_one_asks_for_what_changed(
    exporter: Exporter, server: FhirServer, database: Database
) -> None:
    report = whole(exporter)
    assert (report.patients, report.resources, report.refused) == (2, 5, [])
    assert values(database) == {"birth_date": "1964-03-01", "sex": "female", "egfr": 88.0, "copd": True}
    assert values(database, "P2")["egfr"] == 40.0
    assert any(path.startswith("DELETE") for path in server.asked)
    server.resources[:] = [observation("33914-3", 61, UNIT, meta={"versionId": "2"})]  # no Patient with it
    whole(exporter)
    assert values(database)["egfr"] == 61.0
    assert "_since" not in server.exports.asked[0]
    assert server.exports.asked[1]["_since"].startswith(AT[:19])
    exporter.step(at(exporter), whole=True)
    assert "_since" not in server.exports.asked[2]


def test_each_patients_documents_are_their_own(exporter: Exporter, database: Database) -> None:
    whole(exporter)
    features, store = Features(database), ObjectStore(database.data_dir)
    for number, stranger in (("P1", b"Patient/b"), ("P2", b"Patient/a")):
        for document, _ in features.documents(features.identity("HOSP", number)):
            assert stranger not in store.read_document(document.path)


def test_what_was_deleted_counts_no_more_and_errors_are_told_by_their_codes(
    exporter: Exporter, server: FhirServer, database: Database
) -> None:
    whole(exporter)
    server.exports = replace(server.exports, deleted=["Observation/o1", "Patient/b"], errors=["too-costly"])
    report = whole(exporter)
    assert "egfr" not in values(database)
    features = Features(database)
    assert [record.standing for record in features.records(features.identity("HOSP", "P2"))] == ["deleted"]
    assert [each.reason for each in report.refused] == ["error too-costly"]


@pytest.mark.parametrize("fault", ["cut", "broken", "500", "slow"])
def test_a_file_that_does_not_come_whole_is_fetched_again_and_no_other(
    exporter: Exporter, server: FhirServer, database: Database, fault: str
) -> None:
    server.exports.polls = 0
    server.faults = ["", "", "", fault]  # kick-off, manifest, patients, conditions
    with pytest.raises(PeerError) as caught:
        exporter.step(at(exporter))
    assert caught.value.remedy
    assert "copd" not in values(database)
    begun = len(server.asked)
    whole(Exporter(exporter._settings, database, ObjectStore(database.data_dir), MAPPING))  # another process
    assert values(database)["copd"] is True
    assert not any("Patient.ndjson" in path for path in server.asked[begun:])
    assert server.exports.began == 1


def test_a_busy_server_is_asked_again_when_it_says(exporter: Exporter, server: FhirServer) -> None:
    server.faults = ["429-long", "", "429-long"]
    assert exporter.step(at(exporter)) == 3000.0
    assert exporter.step(at(exporter)) == 3000.0  # begun, and asked after
    assert isinstance(whole(exporter), Report)


def test_an_export_that_the_server_forgot_is_begun_anew(
    exporter: Exporter, server: FhirServer, database: Database
) -> None:
    exporter.step(at(exporter))
    server.faults = ["404"]
    assert exporter.step(at(exporter)) == 1.0
    whole(exporter)
    assert server.exports.began == 2
    assert values(database)["egfr"] == 88.0
    server.faults = ["", "", "410"]  # the files expired
    assert exporter.step(at(exporter)) == 1.0
    assert isinstance(whole(exporter), Report)


@pytest.mark.parametrize(("token", "sent"), [(True, True), (False, False)])
def test_a_token_goes_where_it_is_asked_for(
    server: FhirServer, database: Database, tmp_path: Path, token: bool, sent: bool
) -> None:
    server.exports.token = token
    told = settings(server, **register(server, tmp_path))
    whole(Exporter(told, database, ObjectStore(database.data_dir), MAPPING))
    assert {bool(each) for each in server.exports.credentials} == {sent}


def test_a_token_never_goes_to_another_server(server: FhirServer, database: Database, tmp_path: Path) -> None:
    with FhirServer(server.resources) as elsewhere:
        server.exports.token, server.exports.elsewhere = True, elsewhere.url
        told = settings(server, **register(server, tmp_path))
        exporter = Exporter(told, database, ObjectStore(database.data_dir), MAPPING)
        with pytest.raises(PeerError) as caught:
            whole(exporter)
        assert caught.value.reason == "foreign-file"
        assert elsewhere.asked == []
