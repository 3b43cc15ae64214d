"""The command line as a whole: help, errors, exit status, what is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import Ran, RunCommand

CHECKOUT = Path(__file__).parents[3]
COMMANDS = ("init", "up", "serve", "worker", "demo", "check")
COMMANDS += ("studies", "jobs", "parcels", "models", "rules", "peers")
HEAVY = ("torch", "monai", "highdicom", "numpy", "pydicom", "pynetdicom", "sqlalchemy", "alembic", "fastapi", "celery")


def _python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    ran = _python("-m", "dicom_node.cli.main", "--help", cwd=tmp_path)
    assert ran.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in ran.stdout
    assert "run-node" not in ran.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["studies", "--help"], ["peers", "echo", "--help"]])
def test_help_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom dicom_node.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    status = end.code\n"
        f"print('IMPORTED', status, [name for name in {(*HEAVY, 'rich')!r} if name in sys.modules])"
    )
    ran = _python("-c", code, cwd=tmp_path)
    assert ran.stdout.splitlines()[-1] == "IMPORTED 0 []", ran.stderr


def test_what_reads_the_ledger_imports_no_network_and_no_model(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom dicom_node.cli.main import main\n"
        "try:\n    main(['studies', 'list'])\nexcept SystemExit as end:\n    status = end.code\n"
        "unwanted = ('torch', 'monai', 'highdicom', 'pynetdicom', 'fastapi', 'celery', 'celpy')\n"
        "print('IMPORTED', status, [name for name in unwanted if name in sys.modules])"
    )
    ran = _python("-c", code, cwd=tmp_path)
    assert ran.stdout.splitlines()[-1] == "IMPORTED 1 []"


def test_an_error_is_two_lines(run: RunCommand, folder: Path) -> None:
    (folder / "dicom-node.toml").write_text("[node]\n\nport = 0\n")
    ran = run("peers", "list")
    assert ran.status == 2
    assert ran.error == (
        f"error: {folder / 'dicom-node.toml'}:3: node.port: Input should be greater than or equal to 1, not 0\n"
    )
    assert ran.output == ""


def test_with_json_an_error_is_json(run: RunCommand, folder: Path) -> None:
    (folder / "dicom-node.toml").write_text("[node]\n\nport = 0\n")
    ran = run("peers", "list", "--json")
    assert (ran.status, ran.output) == (2, "")
    told = json.loads(ran.error)["error"]
    assert (told["reason"], told["line"], told["key"]) == ("configuration", "3", "node.port")
    assert told["file"] == str(folder / "dicom-node.toml")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["studies", "lst"], "No such command 'lst'"),
        (["studies", "list", "--limit", "many"], "--limit"),
        (["studies", "list", "--limit", "0"], "--limit"),
        (["studies", "show"], "STUDY"),
        (["jobs", "show", "one"], "JOB"),
        (["jobs", "list", "--state", "asleep"], "asleep"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage_is_2(run: RunCommand, arguments: list[str], told: str) -> None:
    ran = run(*arguments)
    assert ran.status == 2
    assert told in ran.error
    as_json = run(*arguments, "--json") if arguments != ["--nonsense"] else None
    if as_json:
        assert as_json.status == 2
        assert told in json.loads(as_json.error)["error"]["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["studies", "list"],
        ["studies", "show", "1"],
        ["studies", "history", "1"],
        ["studies", "close", "1"],
        ["jobs", "list"],
        ["jobs", "show", "1"],
        ["jobs", "retry", "1"],
        ["parcels", "list"],
        ["parcels", "retry", "1"],
    ],
)
def test_without_a_ledger_nothing_is_made(run: RunCommand, folder: Path, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.status == 1
    assert "there is no ledger yet" in ran.error
    assert "dicom-node up" in ran.error
    assert list(folder.iterdir()) == []


def test_a_ledger_of_another_schema_is_left_as_it_is(run: RunCommand, full: Any) -> None:
    with full.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    ran = run("studies", "list")
    assert ran.status == 1
    assert "schema 0000" in ran.error
    with full.database.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "0000"


def test_the_file_may_be_named_by_the_environment(
    run: RunCommand, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = folder / "other.toml"
    other.write_text('[[peers]]\nname = "elsewhere"\nae_title = "A"\nhost = "h"\nport = 1\n')
    monkeypatch.setenv("DICOM_NODE_CONFIG", str(other))
    assert [peer["name"] for peer in run("peers", "list", "--json").json["peers"]] == ["elsewhere"]


def test_ran_is_what_was_printed(run: RunCommand) -> None:
    ran = run("peers", "list")
    assert ran == Ran(0, "no peers\n", "")
