"""``dicom-node check``: each check by itself, and all together."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import RunCommand
from peers import free_port

from dicom_node.cli import doctor
from dicom_node.settings import Settings, load


def _settings(folder: Path, **sections: dict[str, Any]) -> Settings:
    given = {"node": {}, "web": {}, **sections}
    given["node"] = {"data_dir": folder / "data", "host": "127.0.0.1", "port": free_port(), **given["node"]}
    given["web"] = {"port": free_port(), **given["web"]}
    return Settings.model_validate(given)


@pytest.fixture
def workers_program(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, str, str]]:
    """What the worker's processes answer, instead of loading torch: by the last word of the command."""
    answers = {"packages": (0, "2.9.0 1.5.2\n", "")}
    answers["sandbox"] = (0, json.dumps({"network": True, "files": True, "memory": True, "missing": []}), "")

    def run(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
        status, printed, trouble = answers["sandbox" if command[-1] == "sandbox" else "packages"]
        return subprocess.CompletedProcess(command, status, printed, trouble)

    monkeypatch.setattr(doctor.subprocess, "run", run)
    return answers


def test_a_data_directory_is_made_later(folder: Path) -> None:
    answer = doctor.data_directory(_settings(folder))
    assert answer.state != "bad"
    assert "made at the first start" in answer.found
    assert not (folder / "data").exists()


def test_a_data_directory_that_is_a_file_is_bad(folder: Path) -> None:
    (folder / "data").write_text("")
    assert doctor.data_directory(_settings(folder)).state == "bad"


@pytest.mark.parametrize(("free", "state"), [(10**8, "bad"), (10**10, "warning"), (10**12, "good")])
def test_free_space(folder: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    assert doctor.data_directory(_settings(folder)).state == state


def test_no_ledger_yet_is_good(folder: Path) -> None:
    assert doctor.ledger(_settings(folder)).found == "none yet; made at the first start"
    assert not (folder / "data").exists()


def test_a_ledger_of_this_schema_is_good(folder: Path, full: Any) -> None:
    settings = _settings(folder, node={"data_dir": folder / "dicom-node-data"})
    assert (doctor.ledger(settings).state, doctor.ledger(settings).found[:6]) == ("good", "schema")


def test_objects_that_cannot_be_used_are_named(folder: Path, full: Any) -> None:
    (told,) = doctor.rejected_objects(_settings(folder, node={"data_dir": folder / "dicom-node-data"}))
    assert (told.state, told.found.endswith(": not DICOM")) == ("warning", True)
    assert told.remedy


def test_nothing_is_said_of_unusable_objects_where_there_is_none(folder: Path) -> None:
    assert list(doctor.rejected_objects(_settings(folder))) == []


def test_a_database_that_is_no_url_is_bad(folder: Path) -> None:
    assert doctor.ledger(_settings(folder, database={"url": "postgres"})).state == "bad"


def test_a_broker_that_does_not_answer_is_bad_and_keeps_its_password(folder: Path) -> None:
    answer = doctor.broker(_settings(folder, broker={"url": f"redis://:secret@127.0.0.1:{free_port()}/0"}), 1.0)
    assert answer.state == "bad"
    assert "secret" not in answer.found
    assert doctor.broker(_settings(folder, broker={"url": "http://x"}), 1.0).state == "bad"


def test_a_missing_embedded_broker_is_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.jobs.broker.server_program", lambda: None)
    answer = doctor.broker(_settings(folder), 1.0)
    assert (answer.state, "poll" in answer.found) == ("warning", True)


def test_ports_are_free(folder: Path) -> None:
    settings = _settings(folder)
    assert doctor.dicom_port(settings, 1.0).state == "good"
    assert doctor.web_port(settings, 1.0).state == "good"


def test_ports_that_others_listen_on_are_bad(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = _settings(folder, node={"port": port}, web={"port": port})
        assert doctor.dicom_port(settings, 0.3).state == "bad"
        assert doctor.web_port(settings, 0.3).state == "bad"


def test_worker_packages(workers_program: dict[str, tuple[int, str, str]]) -> None:
    assert doctor.worker() == doctor.Answer("worker", "good", "torch 2.9.0, MONAI 1.5.2")
    workers_program["packages"] = (1, "", "Traceback\nModuleNotFoundError: No module named 'torch'\n")
    answer = doctor.worker()
    assert answer.state == "warning"
    assert "No module named 'torch'" in answer.found
    assert "dicom-node[worker]" in answer.remedy


def test_sandbox(workers_program: dict[str, tuple[int, str, str]]) -> None:
    assert doctor.sandbox().found == "no network, writes confined, memory limited"
    level = {"network": True, "files": False, "memory": True, "missing": ["no Landlock in this kernel"]}
    workers_program["sandbox"] = (0, json.dumps(level), "")
    assert doctor.sandbox() == doctor.Answer(
        "sandbox", "warning", "no network, memory limited", "no Landlock in this kernel"
    )
    workers_program["sandbox"] = (1, "", "no such module")
    assert doctor.sandbox().state == "warning"


def _configure(folder: Path, more: str = "") -> None:
    text = f'[node]\nhost = "127.0.0.1"\nport = {free_port()}\n[web]\nport = {free_port()}\n'
    (folder / "dicom-node.toml").write_text(text + more)


def test_a_folder_that_is_ready(run: RunCommand, folder: Path, workers_program: Any) -> None:
    _configure(folder)
    data = run("check", "--json").json
    assert data["good"]
    assert {check["check"] for check in data["checks"]} >= {"configuration", "data directory", "ledger", "broker"}
    assert {check["state"] for check in data["checks"]} <= {"good", "warning"}
    assert run("check").output.endswith("the node can run here\n")


def test_a_peer_that_is_down_is_no_hindrance(run: RunCommand, folder: Path, workers_program: Any) -> None:
    _configure(folder, f'[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {free_port()}\n')
    ran = run("check")
    assert ran.status == 0
    assert "warn  peer pacs: PACS at 127.0.0.1" in ran.output


def test_a_rule_that_is_wrong_is(run: RunCommand, folder: Path, workers_program: Any) -> None:
    _configure(folder, '[[rules]]\nname = "r"\nmodel = "none"\n')
    ran = run("check")
    assert ran.status == 1
    assert f"FAIL  rules: {folder / 'dicom-node.toml'}:8: rules[1].model: there is no model 'none'" in ran.output
    assert ran.output.endswith("the node cannot run here as it is\n")


def test_a_configuration_that_is_wrong_is_2(run: RunCommand, folder: Path) -> None:
    (folder / "dicom-node.toml").write_text("[node]\nprot = 1\n")
    ran = run("check")
    assert ran.status == 2
    assert "FAIL  configuration:" in ran.output
    assert json.loads(run("check", "--json").error)["error"]["key"] == "node.prot"


def test_nothing_is_changed(run: RunCommand, folder: Path, workers_program: Any) -> None:
    _configure(folder)
    run("check")
    assert [file.name for file in folder.iterdir()] == ["dicom-node.toml"]
    assert load(folder / "dicom-node.toml", {}).settings.node.data_dir == folder / "dicom-node-data"
