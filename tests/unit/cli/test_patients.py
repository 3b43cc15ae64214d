"""``dicom-node patients`` and ``studies correct``: what an authority tells, by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import RunCommand
from studies_of_results import Clinic

from dicom_node.archive.database import Database
from dicom_node.archive.migrate import migrate
from dicom_node.archive.truth import Truth


@pytest.fixture
def clinic(folder: Path) -> Iterator[Clinic]:
    """A ledger with one result."""
    database = Database("sqlite", folder / "dicom-node-data")
    migrate(database)
    made = Clinic(database, folder / "dicom-node-data")
    made.result()
    yield made
    database.close()


def told(clinic: Clinic) -> dict[str, str]:
    with clinic.database.read() as connection:
        return dict(Truth.of(connection, 1, (1,)).told)


def test_a_merge_counts_once(run: RunCommand, clinic: Clinic) -> None:
    wanted = ("patients", "merge", "SYN-1", "P-NEW", "--name", "Right^Person", "--event", "E1", "--source", "registry")
    taken = run(*wanted, "--json").json
    assert taken == {"event": "E1", "source": "registry", "taken": True, "studies": [1]}
    assert told(clinic)["PatientID"] == "P-NEW"
    assert "was taken before; nothing changes" in run(*wanted).output


def test_unlink_and_update(run: RunCommand, clinic: Clinic) -> None:
    run("patients", "merge", "SYN-1", "P-NEW")
    assert "studies that it concerns: 1" in run("patients", "unlink", "SYN-1").output
    assert "PatientID" not in told(clinic)
    run("patients", "update", "SYN-1", "--birth-date", "19630214", "--sex", "F")
    assert (told(clinic)["PatientBirthDate"], told(clinic)["PatientSex"]) == ("19630214", "F")


def test_a_study_is_corrected(run: RunCommand, clinic: Clinic) -> None:
    ran = run("studies", "correct", "1", "--patient", "P2", "--name", "Roe^Richard", "--accession", "A-9", "--json")
    assert ran.json["studies"] == [1]
    assert (told(clinic)["PatientID"], told(clinic)["AccessionNumber"]) == ("P2", "A-9")


def test_what_is_wrong_is_told(run: RunCommand, clinic: Clinic) -> None:
    ran = run("patients", "unlink", "NOBODY")
    assert (ran.status, "no patient 'NOBODY' is known" in ran.error) == (1, True)
    ran = run("studies", "correct", "1", "--patient", "P2")
    assert (ran.status, "tell PatientName with it" in ran.error) == (1, True)
    ran = run("studies", "correct", "1", "--series", "1.2.3", "--accession", "A-9")
    assert (ran.status, "has no series '1.2.3'" in ran.error) == (1, True)
    for at in ("yesterday", "2026-03-01T08:00"):
        ran = run("patients", "unlink", "SYN-1", "--at", at)
        assert (ran.status, "write 2026-03-01T08:15:00+01:00" in " ".join(ran.error.split())) == (2, True)
