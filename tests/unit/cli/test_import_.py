"""``dicom-node import``: what it tells, and its exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands import RunCommand
from pydicom.data import get_testdata_file


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """A disc with a CT image and a text."""
    place = tmp_path / "disc"
    place.mkdir()
    (place / "ct").write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    (place / "readme").write_text("hello")
    return place


def test_a_folder_is_imported_before_the_node_ever_ran(run: RunCommand, folder: Path, disc: Path) -> None:
    ran = run("import", str(disc))
    assert ran.status == 0
    assert "1 objects of 1 studies taken from 2 files" in ran.output
    assert "1 no DICOM objects, skipped" in ran.output and str(disc / "readme") in ran.output
    assert len(list((folder / "dicom-node-data").glob("objects/import-0/*/*.dcm"))) == 1


def test_as_json(run: RunCommand, disc: Path) -> None:
    told = run("import", str(disc), "--json").json
    assert (told["files"], told["stored"], len(told["studies"])) == (2, 1, 1)
    assert (told["skipped"], told["refused"]) == ([str(disc / "readme")], [])


def test_a_refused_object_is_bad_news(run: RunCommand, disc: Path) -> None:
    (disc / "half").write_bytes((disc / "ct").read_bytes()[:-100])
    ran = run("import", str(disc), "--json")
    assert ran.status == 1
    assert [refusal["reason"] for refusal in ran.json["refused"]] == ["truncated"]
    assert ran.json["stored"] == 1


def test_many_refusals_are_cut_short_in_text(run: RunCommand, disc: Path) -> None:
    for number in range(25):
        (disc / f"half{number:02d}").write_bytes((disc / "ct").read_bytes()[:-100])
    ran = run("import", str(disc))
    assert ran.status == 1
    assert "25 refused" in ran.output and "and 5 more; see --json" in ran.output


def test_nothing_found_is_bad_news(run: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    assert run("import", str(tmp_path / "nothing")).status == 1


def test_a_folder_that_is_not_there_is_told(run: RunCommand, tmp_path: Path) -> None:
    ran = run("import", str(tmp_path / "nowhere"), "--json")
    assert ran.status == 1
    assert json.loads(ran.error)["error"]["reason"] == "unreadable"


def test_a_bar_is_drawn_on_a_terminal_alone(run: RunCommand, disc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "importing" not in run("import", str(disc)).error
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ran = run("import", str(disc))
    assert ran.status == 0
