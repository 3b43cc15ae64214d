"""``dicom-node results``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import RunCommand
from studies_of_results import Clinic

from dicom_node.archive.database import Database
from dicom_node.archive.migrate import migrate

PEERS = """
[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 1
rejection_notes = true
[[peers]]
name = "reading"
ae_title = "READING"
host = "127.0.0.1"
port = 2
"""


@pytest.fixture
def delivered(folder: Path) -> Iterator[Clinic]:
    """A result that both peers have."""
    (folder / "dicom-node.toml").write_text(PEERS)
    database = Database("sqlite", folder / "dicom-node-data")
    migrate(database)
    clinic = Clinic(database, folder / "dicom-node-data")
    clinic.result()
    clinic.deliver("pacs", "reading")
    yield clinic
    database.close()


def test_withdraw_one(run: RunCommand, delivered: Clinic) -> None:
    told = run("results", "withdraw", "1", "--reason", "wrong weights", "--json").json
    assert told == {"jobs": [1], "withdrawn": [{"job": 1, "told": ["pacs", "reading"]}], "dry_run": False}
    assert delivered.standings() == ["withdrawn"]
    assert {name: each.Modality for name, each in delivered.sent("withdrawal").items()} == {
        "pacs": "KO",
        "reading": "SR",
    }
    assert "told: nobody" in run("results", "withdraw", "1", "--reason", "wrong weights").output


def test_a_model_is_listed_before_it_is_withdrawn(run: RunCommand, delivered: Clinic) -> None:
    wanted = ("results", "withdraw", "--model", "ct_lung_density", "--version", "0.1.0", "--reason", "recalled")
    assert "1 result(s) would be withdrawn, of jobs: 1" in run(*wanted).output
    assert delivered.standings() == ["current"]
    assert "told: pacs, reading" in run(*wanted, "--yes").output
    assert delivered.standings() == ["withdrawn"]
    assert run(*wanted, "--yes", "--json").json["jobs"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--reason", "x"),
        ("1", "--reason", " "),
        ("1", "--model", "m", "--reason", "x"),
        ("--model", "m", "--reason", "x"),
    ],
)
def test_what_is_meant_must_be_clear(run: RunCommand, delivered: Clinic, arguments: tuple[str, ...]) -> None:
    ran = run("results", "withdraw", *arguments)
    assert ran.status == 2
    assert "name a JOB" in ran.error


def test_a_job_that_is_not_there_is_bad_news(run: RunCommand, delivered: Clinic) -> None:
    ran = run("results", "withdraw", "99", "--reason", "x")
    assert ran.status == 1
    assert "there is no job 99" in ran.error


def test_replace_one(run: RunCommand, delivered: Clinic) -> None:
    told = run("results", "replace", "1", "--reason", "wrong order", "--json").json
    assert told == {"jobs": [1], "replaced": [{"job": 1, "by_job": 2, "new": True}], "dry_run": False}
    assert "was planned before, as job 2" in run("results", "replace", "1", "--reason", "wrong order").output
    job = delivered.ledger.job(2)
    assert job is not None
    assert (job.supersedes, str(job.state)) == (1, "queued")


def test_a_version_is_not_replaced_by_itself(run: RunCommand, delivered: Clinic) -> None:
    from dicom_node.catalogue import Catalogue
    from dicom_node.settings import Settings

    installed = Catalogue.load(Settings()).get("ct_lung_density").version
    delivered.set_version(1, installed)
    wanted = ("results", "replace", "--model", "ct_lung_density", "--version", installed, "--reason", "recalled")
    assert "1 result(s) would be replaced, of jobs: 1" in run(*wanted).output
    ran = run(*wanted, "--yes")
    assert (ran.status, "is the version that is installed" in ran.error) == (1, True)


def test_all_results_of_a_version_are_replaced(run: RunCommand, delivered: Clinic) -> None:
    delivered.set_version(1, "0.0.1")
    wanted = ("results", "replace", "--model", "ct_lung_density", "--version", "0.0.1", "--reason", "recalled", "--yes")
    assert "is planned as job 2" in run(*wanted).output
    assert "was planned before, as job 2" in run(*wanted).output


def test_a_replacement_must_be_clear_too(run: RunCommand, delivered: Clinic) -> None:
    assert run("results", "replace", "--reason", "x").status == 2
    assert "there is no job 99" in run("results", "replace", "99", "--reason", "x").error
