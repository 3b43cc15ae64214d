"""``dicom-node sidecar ehr``: what it needs to be told, and that ``up`` starts it."""

from __future__ import annotations

from pathlib import Path

from commands import RunCommand

from dicom_node.cli.run import programs
from dicom_node.settings import load


def test_without_a_place_to_listen_it_does_not_start(run: RunCommand, folder: Path) -> None:
    ran = run("sidecar", "ehr")
    assert ran.status == 2
    assert "ehr.hl7" in ran.error


def test_it_is_one_of_the_processes_where_it_is_set(tmp_path: Path) -> None:
    file = tmp_path / "dicom-node.toml"
    file.write_text("[ehr.hl7]\nport = 2575\n")
    names = [program.name for program in programs(load(file, {}), workers=False)]
    assert names[-1] == "sidecar ehr"
    file.write_text("")
    assert "sidecar ehr" not in [program.name for program in programs(load(file, {}), workers=False)]
