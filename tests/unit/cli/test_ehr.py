"""``dicom-node ehr import`` and ``patients show``."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import RunCommand
from fhir_records import MRN, bundle, observation, patient
from fhir_server import FhirServer
from studies_of_results import Clinic

from dicom_node.archive.database import Database
from dicom_node.archive.migrate import migrate


@pytest.fixture
def clinic(folder: Path) -> Clinic:
    """A ledger with one study, of SYN-1."""
    (folder / "dicom-node.toml").write_text(
        f'[ehr]\ndefault_issuer = "HOSP"\n[[ehr.identifiers]]\nsystem = "{MRN}"\nissuer = "HOSP"\n'
    )
    database = Database("sqlite", folder / "dicom-node-data")
    migrate(database)
    made = Clinic(database, folder / "dicom-node-data")
    made.arrive()
    database.close()
    return made


def record(folder: Path, **more: str) -> Path:
    made = folder / "record.json"
    egfr = observation("33914-3", 88, "mL/min/{1.73_m2}")
    made.write_bytes(bundle(patient("SYN-1", **more), egfr, observation("33914-3", 9, "mL/min", "o2")))
    return made


def test_a_record_is_taken_in_and_shown(run: RunCommand, clinic: Clinic, folder: Path) -> None:
    taken = run("ehr", "import", str(record(folder)), "--source", "epic", "--json")
    assert taken.status == 0
    told = taken.json
    assert (told["patients"], told["features"], told["rejected"], told["refused"]) == (1, 4, 1, [])
    assert "4 features" not in run("ehr", "import", str(record(folder)), "--source", "epic").output
    shown = run("patients", "show", "SYN-1", "--json").json
    (ours, theirs) = sorted(shown, key=lambda each: each["issuer"])
    assert [each["issuer"] for each in (ours, theirs)] == ["", "HOSP"]
    assert {each["name"]: each["value"] for each in theirs["features"]}["egfr"] == 88.0
    (study,) = ours["studies"]
    assert study["study"] == 1
    assert isinstance(study["matched"], bool) and study["reason"]
    text = run("patients", "show", "SYN-1")
    assert text.status == 0
    assert "egfr" in text.output and "record may be used" in text.output


def test_what_is_wrong_is_said(run: RunCommand, clinic: Clinic, folder: Path) -> None:
    assert run("ehr", "import", str(record(folder, gender="F"))).status == 1
    assert run("ehr", "import", str(folder / "nothing")).status == 1
    assert run("ehr", "import", str(folder), "--release", "R3").status == 2
    assert run("ehr", "import", str(folder), "--source", "a/b").status == 2
    assert run("patients", "show", "NOBODY").status == 1


def test_a_server_is_asked_for_a_patient(run: RunCommand, clinic: Clinic, folder: Path) -> None:
    assert run("ehr", "pull", "SYN-1").status == 2
    with FhirServer([patient("SYN-1"), observation("33914-3", 88, "mL/min/{1.73_m2}")]) as server:
        settings = folder / "dicom-node.toml"
        settings.write_text(settings.read_text() + f'[[ehr.servers]]\nname = "epic"\nurl = "{server.url}"\n')
        assert run("ehr", "pull", "SYN-1", "--server", "other").status == 2
        told = run("ehr", "pull", "SYN-1", "--json")
        assert (told.status, told.json["patients"], told.json["features"]) == (0, 1, 3)
        assert run("ehr", "pull", "NOBODY").status == 1


def test_servers_are_followed_and_export(run: RunCommand, clinic: Clinic, folder: Path) -> None:
    egfr = observation("33914-3", 88, "mL/min/{1.73_m2}")
    with FhirServer([patient("SYN-1"), egfr]) as server:
        settings = folder / "dicom-node.toml"
        told = f'{settings.read_text()}[[ehr.servers]]\nname = "epic"\nurl = "{server.url}"\n'
        settings.write_text(told)
        assert run("ehr", "export").status == 2
        settings.write_text(f'{told}export = "Patient"\n')
        came = run("ehr", "export", "--json")
        assert (came.status, came.json["resources"], came.json["features"]) == (0, 2, 3)
        server.resources[1] = {**egfr, "status": "entered-in-error"}
        assert run("ehr", "sync", "--json").status == 0
        shown = run("patients", "show", "SYN-1", "--issuer", "HOSP", "--json").json
        assert "egfr" not in {each["name"] for each in shown[0]["features"]}


def test_who_read_is_told_and_a_patient_is_forgotten(run: RunCommand, clinic: Clinic, folder: Path) -> None:
    run("ehr", "import", str(record(folder)), "--source", "epic")
    run("patients", "show", "SYN-1", "--issuer", "HOSP")
    (read,) = run("patients", "reads", "SYN-1", "--issuer", "HOSP", "--json").json
    assert (read["what"], read["purpose"], "egfr" in read["features"]) == ("record read", "patients show", True)
    assert read["by"].startswith("cli:")
    gone = run("patients", "forget", "SYN-1", "--why", "erasure", "--json").json
    assert (gone["documents"], gone["records"]) == (1, 1)
    assert run("patients", "show", "SYN-1", "--issuer", "HOSP", "--json").json[0]["features"] == []
    assert "erasure" in run("patients", "reads", "SYN-1").output
    assert run("patients", "forget", "NOBODY").status == 1


def test_the_whole_history_of_who_is_who(run: RunCommand, clinic: Clinic) -> None:
    run("patients", "merge", "SYN-1", "P-NEW", "--name", "Right^Person", "--source", "registry")
    run("patients", "unlink", "SYN-1", "--source", "registry")
    shown = run("patients", "show", "SYN-1", "--json")
    assert [each["kind"] for each in shown.json[0]["history"]] == ["merge", "unlink"]
    assert shown.json[0]["history"][0]["into"] == "P-NEW"
    assert "Right" not in shown.output
    assert "P-NEW" in run("patients", "show", "SYN-1").output


def test_what_was_sealed_is_sealed_anew(run: RunCommand, clinic: Clinic, folder: Path) -> None:
    run("ehr", "import", str(record(folder)), "--source", "epic")
    assert run("patients", "reseal").status == 2
    keys = folder / "keys"
    keys.write_text("bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4=\n")
    keys.chmod(0o600)
    settings = folder / "dicom-node.toml"
    settings.write_text(f'{settings.read_text()}[ehr.seal]\nfile = "keys"\n')
    assert run("patients", "reseal", "--json").json == {"files": 1, "values": 5}
    assert run("patients", "reseal", "--json").json == {"files": 0, "values": 0}
    assert run("patients", "show", "SYN-1").status == 0
