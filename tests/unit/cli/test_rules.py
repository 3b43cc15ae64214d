"""``dicom-node rules``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import RunCommand

RULE = """\
[[rules]]
name = "lungs"
model = "ct_lung_density"
all = ['BodyPartExamined == "CHEST"', 'instances >= 20']
"""


def test_check(run: RunCommand, folder: Path) -> None:
    (folder / "dicom-node.toml").write_text(RULE)
    data = run("rules", "check", "--json").json
    assert [rule["name"] for rule in data["rules"]] == ["lungs"]
    assert {"list": "all", "condition": "instances >= 20"} in data["rules"][0]["conditions"]
    assert "lungs: ct_lung_density" in run("rules", "check").output


def test_no_rules_are_told(run: RunCommand) -> None:
    assert run("rules", "check").output == "there are no rules: nothing will run, and nothing is sent on\n"


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("BodyPartExamined ==", "BodyPart ==", 4, "BodyPart"),
        ("instances >= 20", 'instances >= "20"', 4, "instances"),
        ("instances >= 20", "instances >=", 4, "instances"),
        ('"ct_lung_density"', '"ct_lung"', 3, "there is no model 'ct_lung'"),
    ],
)
def test_a_wrong_rule_is_told_with_its_line(
    run: RunCommand, folder: Path, old: str, new: str, line: int, told: str
) -> None:
    assert old in RULE
    (folder / "dicom-node.toml").write_text(
        RULE.replace(old, new).replace("'instances >= '20''", "\"instances >= '20'\"")
    )
    ran = run("rules", "check")
    assert ran.status == 2
    assert ran.error.startswith(f"error: {folder / 'dicom-node.toml'}:{line}: rules[1]")
    assert told in ran.error


def test_explain(run: RunCommand, folder: Path, full: Any) -> None:
    (folder / "dicom-node.toml").write_text(RULE)
    data = run("rules", "explain", "ACC001", "--json").json
    assert data["study_uid"] == "1.2.826.0.1.1"
    (decision,) = data["rules"]
    assert (decision["matched"], decision["winner"]) == (True, "1.2.826.0.1.1.2")
    assert decision["after"] is None
    assert [series["verdict"] for series in decision["series"]] == ["won", "no match"]
    text = run("rules", "explain", "ACC001").output
    assert "rule 'lungs': ct_lung_density runs" in text
    assert "BodyPartExamined CHEST" in text
