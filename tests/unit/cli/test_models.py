"""``dicom-node models``."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import RunCommand
from served_bundles import serve_bundle

from dicom_node.cli import models


def test_the_shipped_model_is_listed(run: RunCommand) -> None:
    data = run("models", "list", "--json").json
    assert "ct_lung_density" in [model["name"] for model in data["models"]]
    assert data["problems"] == []
    assert "ct_lung_density" in run("models", "list").output


def test_a_broken_bundle_is_listed_with_what_is_wrong(run: RunCommand, folder: Path) -> None:
    (folder / "mine" / "broken").mkdir(parents=True)
    (folder / "mine" / "broken" / "model.toml").write_text("[model]\n")
    (folder / "dicom-node.toml").write_text('[models]\nfolders = ["mine"]\n')
    (problem,) = run("models", "list", "--json").json["problems"]
    assert problem["name"] == "broken"
    assert str(folder / "mine" / "broken" / "model.toml") in problem["message"]
    assert "cannot be used" in run("models", "list").output


def test_show(run: RunCommand) -> None:
    told = run("models", "show", "ct_lung_density", "--json").json
    assert told["status"] == "research"
    assert [segment["label"] for segment in told["segments"]] == ["Right lung", "Left lung"]
    assert "Intended use" in run("models", "show", "ct_lung_density").output


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_model_that_is_not_there_is_wrong_usage(run: RunCommand, command: str) -> None:
    ran = run("models", command, "none")
    assert ran.status == 2
    assert "there is no model 'none'" in ran.error


@pytest.mark.parametrize(("status", "good"), [(0, True), (1, False)])
def test_verify_asks_the_workers_program(
    run: RunCommand, folder: Path, monkeypatch: pytest.MonkeyPatch, status: int, good: bool
) -> None:
    asked: list[list[str]] = []

    def answer(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        text = f"ok    the bundle loads\n{'ok  ' if good else 'FAIL'}  it runs\n"
        return subprocess.CompletedProcess(command, status, text, "" if good else "error: it raised\n")

    monkeypatch.setattr(models.subprocess, "run", answer)
    (folder / "dicom-node.toml").write_text("")
    ran = run("models", "verify", "ct_lung_density", "--json")
    assert ran.status == status
    assert asked[0][1:] == ["-m", "workers", "--config", str(folder / "dicom-node.toml"), "verify", "ct_lung_density"]
    assert ran.json["good"] == good
    assert ran.json["checks"] == [{"good": True, "what": "the bundle loads"}, {"good": good, "what": "it runs"}]
    assert ("NOT good" in run("models", "verify", "ct_lung_density").output) != good


@pytest.fixture
def own(folder: Path) -> Path:
    """A folder of models, and a bundle beside it whose script would open a socket."""
    (folder / "dicom-node.toml").write_text('[models]\nfolders = ["mine"]\n')
    serve_bundle(folder / "given" / "bright", "import socket")
    return folder


def test_add_shows_what_would_run_and_pins_only_what_somebody_trusts(run: RunCommand, own: Path) -> None:
    added = run("models", "add", "given/bright", "--json")

    assert added.status == 1
    assert added.json["audit"]["concerns"] == ["scripts/network.py:7: imports socket"]
    assert (added.json["pinned"], added.json["drafted"], added.json["needs"]) == (False, False, [])
    assert run("models", "show", "bright").status == 2
    pinned = run("models", "pin", "bright")
    assert pinned.status == 0
    assert "LOOK  scripts/network.py:7: imports socket" in pinned.output
    assert run("models", "show", "bright").status == 0

    (own / "mine" / "bright" / "scripts" / "network.py").write_text("class Network: pass\n")
    assert "its files were changed" in run("models", "show", "bright").error


def test_add_drafts_a_contract_and_tells_what_is_missing(run: RunCommand, own: Path) -> None:
    (own / "given" / "bright" / "model.toml").unlink()
    (own / "given" / "bright" / "LICENSE").unlink()

    added = run("models", "add", "given/bright")

    assert added.status == 1
    assert "model.toml was drafted" in added.output
    assert "FAIL  contract: " in added.output
    assert (own / "mine" / "bright" / "model.toml").read_text().startswith("# Drafted from configs/metadata.json")


def test_add_needs_a_folder_of_models(run: RunCommand, own: Path) -> None:
    (own / "dicom-node.toml").write_text("")

    ran = run("models", "add", "given/bright")

    assert (ran.status, "models.folders" in ran.error) == (2, True)
