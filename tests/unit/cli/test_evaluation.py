"""``dicom-node models evaluate`` and ``train``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import RunCommand

from dicom_node.cli import evaluation

SCORE = {"mean": 0.9, "low": 0.88, "high": 0.92, "cases": 40}
ANSWER = {
    "model": "mr_hippocampus",
    "version": "1.0.0",
    "folder": "/cases",
    "part": "test",
    "segments": {"anterior": {score: SCORE for score, _ in evaluation._SHOWN}},
    "cases": [{"case": "one"}],
}


def answering(monkeypatch: pytest.MonkeyPatch, status: int = 0) -> list[list[str]]:
    asked: list[list[str]] = []

    def answer(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, status, json.dumps(ANSWER))

    monkeypatch.setattr(evaluation.subprocess, "run", answer)
    return asked


def test_an_evaluation_is_shown(run: RunCommand, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch)
    assert run("models", "evaluate", "ct_lung_density", "cases", "--part", "test", "--json").json == ANSWER
    shown = run("models", "evaluate", "ct_lung_density", "cases").output
    assert "0.88 to 0.92" in shown
    assert "anterior" in shown
    assert asked[0][1:5] == ["-m", "workers", "evaluate", "ct_lung_density"]
    assert asked[0][5:] == [str(folder / "cases"), "--device=auto", "--part=test"]


def test_a_training_is_started(run: RunCommand, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch)
    assert run("models", "train", "ct_lung_density", "cases", "--out", "out", "--epochs", "3", "--anew").status == 0
    assert asked[0][3:] == [
        "train",
        "ct_lung_density",
        str(folder / "cases"),
        f"--out={folder / 'out'}",
        "--epochs=3",
        "--anew",
    ]


def test_what_the_worker_refuses_is_refused(run: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, status=1)
    assert run("models", "evaluate", "ct_lung_density", "cases").status == 1
    assert run("models", "evaluate", "none", "cases").status == 2
