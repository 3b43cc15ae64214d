"""One patient of a server: exactly one, what the mapping takes, nobody else's, and by a deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fhir_records import MRN, condition, observation, patient
from fhir_server import FhirServer

from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.files import ObjectStore
from dicom_node.ehr_settings import EhrSettings
from dicom_node.errors import InputError, PeerError
from dicom_node.sidecars.ehr.importer import Report
from dicom_node.sidecars.ehr.mapping import load
from dicom_node.sidecars.ehr.pull import Puller

UNIT = "mL/min/{1.73_m2}"
MAPPING = load()
Pull = Callable[..., Report]


@pytest.fixture
def server() -> Iterator[FhirServer]:
    record = [patient(), observation("33914-3", 88, UNIT), observation("8302-2", 170, "cm", "o2")]
    with FhirServer([*record, condition("13645005")]) as made:
        yield made


@pytest.fixture
def puller(server: FhirServer, database: Database) -> Puller:
    settings = EhrSettings.model_validate(
        {
            "identifiers": [{"system": MRN, "issuer": "HOSP"}],
            "servers": [{"name": "epic", "url": server.url, "deadline_seconds": 3.0}],
        }
    )
    return Puller(settings, database, ObjectStore(database.data_dir), MAPPING)


def pull(puller: Puller, number: str = "P1", issuer: str = "HOSP", names: tuple[str, ...] = ()) -> Report:
    return puller.pull(puller._settings.servers[0], issuer, number, names)


def values(database: Database) -> dict[str, Any]:
    features = Features(database)
    return {each.name: each.value for each in features.of_patient(features.identity("HOSP", "P1"))}


def test_what_the_mapping_takes_of_the_one_patient(puller: Puller, server: FhirServer, database: Database) -> None:
    assert pull(puller).refused == []
    assert values(database) == {"birth_date": "1964-03-01", "sex": "female", "egfr": 88.0, "copd": True}
    assert not any("8302-2" in path for path in server.asked)


def test_only_what_a_model_asks_for(puller: Puller, server: FhirServer, database: Database) -> None:
    pull(puller, names=("egfr",))
    assert values(database).keys() == {"birth_date", "sex", "egfr"}
    assert not any("/Condition" in path for path in server.asked)


def test_none_and_several_are_nobody(puller: Puller, server: FhirServer, database: Database) -> None:
    assert "0 patients" in pull(puller, "P9").refused[0].reason
    server.resources.append(patient(id_="b"))
    assert "2 patients" in pull(puller).refused[0].reason
    assert values(database) == {}


def test_what_is_somebody_elses_is_refused(puller: Puller, server: FhirServer, database: Database) -> None:
    stranger = observation("33914-3", 9, UNIT, "o9", subject={"reference": "Patient/stranger"})
    server.resources.append(stranger)
    server.search = lambda kind, asked: [r for r in server.resources if r["resourceType"] == kind]  # type: ignore[method-assign]
    report = pull(puller)
    assert any("not here" in each.reason for each in report.refused)
    assert values(database)["egfr"] == 88.0


def test_what_came_before_the_trouble_is_taken_and_the_trouble_told(
    puller: Puller, server: FhirServer, database: Database
) -> None:
    server.faults = ["", "", "500"]
    with pytest.raises(PeerError):
        pull(puller)
    assert values(database).keys() == {"birth_date", "sex", "egfr"}
    server.faults = ["500"]
    assert "HTTP 500" in puller.ask("HOSP", "P1", ())
    assert puller.ask("HOSP", "P1", ()) == ""


def test_a_number_of_an_unknown_issuer(puller: Puller) -> None:
    with pytest.raises(InputError, match="no system"):
        pull(puller, issuer="OTHER")
