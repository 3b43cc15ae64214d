"""``dicom-node check --deep``: what it tells of the stored files."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import RunCommand
from pydicom.data import get_testdata_file

from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.header import read_header
from dicom_node.archive.index import Arrival, Index
from dicom_node.archive.migrate import migrate
from dicom_node.cli import doctor
from dicom_node.cli.doctor import Answer


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other checks look at the machine."""
    monkeypatch.setattr(doctor, "answers", lambda configuration, timeout_s: iter([Answer("rules", "good", "none")]))


@pytest.fixture
def objects(run: RunCommand, folder: Path, tmp_path: Path) -> list[Path]:
    """Two stored images that stand in the index."""
    for name in ("CT_small.dcm", "MR_small.dcm"):
        assert run("import", str(get_testdata_file(name))).status == 0
    data_dir = folder / "dicom-node-data"
    store = ObjectStore(data_dir)
    paths = sorted(data_dir.glob("objects/*/*/*.dcm"))
    database = Database("sqlite", data_dir)
    migrate(database)
    Index(database, data_dir).add([Arrival(store.relative(path), read_header(path)) for path in paths])
    database.close()
    return paths


def test_sound_files_are_good(run: RunCommand, objects: list[Path]) -> None:
    ran = run("check", "--deep")
    assert ran.status == 0
    assert "objects: 2 files" in ran.output and "each is what came in" in ran.output


def test_altered_and_missing_files_are_bad_news(run: RunCommand, objects: list[Path]) -> None:
    objects[0].write_bytes(objects[0].read_bytes()[:-1] + b"x")
    objects[1].unlink()
    ran = run("check", "--deep")
    assert ran.status == 1
    assert "1 altered, 1 missing of 2 files" in ran.output
    told = run("check", "--deep", "--json").json
    assert [(finding["fault"], Path(finding["path"]).name) for finding in told["files"]] == [
        ("altered", objects[0].name),
        ("missing", objects[1].name),
    ]
    assert told["checks"][-1]["state"] == "bad"


def test_without_deep_no_file_is_read(run: RunCommand, objects: list[Path]) -> None:
    objects[0].unlink()
    ran = run("check", "--json")
    assert ran.status == 0
    assert "files" not in ran.json


def test_nothing_stored_yet_is_good(run: RunCommand, folder: Path) -> None:
    ran = run("check", "--deep")
    assert ran.status == 0
    assert "objects: none yet" in ran.output


def test_a_list_that_is_long_is_cut_short_in_text(
    run: RunCommand, objects: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.cli.check.MOST_NAMES", 1)
    for path in objects:
        path.unlink()
    assert "and 1 more; see --json" in run("check", "--deep").output
