"""Where memory sufficed is known after a restart, for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.inference.rungs import REMEMBERED_S, Rungs

SHAPE = (300, 512, 512)


def test_a_rung_outlives_its_worker(tmp_path: Path) -> None:
    Rungs("cuda:0", tmp_path / "rungs.json").put("ab", SHAPE, 2)

    after = Rungs("cuda:0", tmp_path / "rungs.json")
    assert after.get("ab", SHAPE) == 2
    assert after.get("cd", SHAPE) == after.get("ab", (1, 512, 512)) == 0
    assert Rungs("cuda:1", tmp_path / "rungs.json").get("ab", SHAPE) == 0


def test_the_first_rung_is_tried_again_after_a_week(tmp_path: Path) -> None:
    clock = [1000.0]
    rungs = Rungs("cuda:0", tmp_path / "rungs.json", lambda: clock[0])
    rungs.put("ab", SHAPE, 1)
    clock[0] += REMEMBERED_S - 1
    rungs.put("ab", SHAPE, 1)  # it was never tried anew, so its time does not begin anew
    assert rungs.get("ab", SHAPE) == 1
    clock[0] += 1
    assert rungs.get("ab", SHAPE) == 0


def test_workers_keep_what_others_learnt(tmp_path: Path) -> None:
    first, second = (Rungs(f"cuda:{n}", tmp_path / "rungs.json") for n in (0, 1))
    first.put("ab", SHAPE, 1)
    second.put("ab", SHAPE, 3)
    first.put("cd", SHAPE, 2)
    first.put("ab", SHAPE, 0)

    again = Rungs("cuda:1", tmp_path / "rungs.json")
    assert again.get("ab", SHAPE) == 3
    assert [Rungs("cuda:0", tmp_path / "rungs.json").get(model, SHAPE) for model in ("ab", "cd")] == [0, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["rungs.json"]


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', '{"a": ["x", 2]}'])
def test_a_damaged_file_is_no_hindrance(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "rungs.json"
    file.write_text(content)
    rungs = Rungs("cpu", file)
    assert "rungs.json cannot be read" in caplog.text
    rungs.put("ab", SHAPE, 1)
    assert Rungs("cpu", file).get("ab", SHAPE) == 1


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rungs = Rungs("cpu", tmp_path / "none" / "rungs.json")
    rungs.put("ab", SHAPE, 1)
    assert rungs.get("ab", SHAPE) == 1
    assert "cannot be written" in caplog.text


def test_without_a_file_it_lasts_as_long_as_the_process() -> None:
    rungs = Rungs("cpu")
    rungs.put("ab", SHAPE, 1)
    assert rungs.get("ab", SHAPE) == 1
