"""Several nodes on one ledger: who takes part, and whose turn it is."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from sqlalchemy import update

from dicom_node.archive.database import Database, db_later
from dicom_node.archive.nodes import TURN_S, Membership, Turn, nodes, store_id
from dicom_node.archive.processes import SEEN_WITHIN_S, Processes
from dicom_node.archive.schema import process, turn
from dicom_node.errors import ConfigurationError
from dicom_node.settings import NodeSettings


def member(database: Database, data_dir: Path, name: str = "left", ae_title: str = "LEFT") -> Membership:
    return Membership(database, NodeSettings(name=name, ae_title=ae_title, data_dir=data_dir))


def other(database: Database, data_dir: Path, host: str = "elsewhere", name: str = "right") -> None:
    """A node of another machine."""
    detail = {"node": name, "ae_title": "RIGHT", "address": f"{host}:104", "store": store_id(data_dir)}
    Processes(database).register(f"{host}:1", detail, kind="node")


def test_a_turn_is_one_processs_until_it_has_been_silent(database: Database) -> None:
    first, second = Turn(database, "courier", "here:1"), Turn(database, "courier", "there:1")
    assert first.ours()
    assert not second.ours()
    assert Turn(database, "planner", "there:1").ours()
    with database.write() as connection:
        connection.execute(update(turn).values(until=db_later(-1)))
    assert Turn(database, "courier", "there:1").ours()
    assert not Turn(database, "courier", "here:1").ours()


def test_a_turn_is_kept_without_asking_and_renewed_in_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("dicom_node.archive.nodes.time.monotonic", lambda: now[0])
    ours = Turn(database, "courier", "here:1")
    assert ours.ours()
    with database.write() as connection:
        connection.execute(update(turn).values(owner="there:1", until=db_later(TURN_S)))
    assert ours.ours()
    now[0] += TURN_S / 2
    assert not ours.ours()


def test_a_turn_that_is_released_is_the_next_ones_at_once(database: Database) -> None:
    first = Turn(database, "courier", "here:1")
    assert first.ours()
    first.release()
    assert Turn(database, "courier", "there:1").ours()


def test_a_node_takes_part_until_it_leaves(database: Database, tmp_path: Path) -> None:
    node = member(database, tmp_path)
    node.enter()
    (told,) = nodes(Processes(database))
    assert (told.detail["node"], told.detail["ae_title"]) == ("left", "LEFT")
    node.leave()
    assert nodes(Processes(database)) == []
    node.tell()
    assert len(nodes(Processes(database))) == 1


def test_a_node_counts_as_no_worker(database: Database, tmp_path: Path) -> None:
    member(database, tmp_path).enter()
    assert not Processes(database).idle()


@pytest.mark.parametrize("name", ["right", ""])
def test_two_nodes_of_one_name_are_refused(database: Database, tmp_path: Path, name: str) -> None:
    other(database, tmp_path, name=name)
    with pytest.raises(ConfigurationError, match="elsewhere:1 at elsewhere:104") as told:
        member(database, tmp_path, name=name).enter(patience_s=0)
    assert told.value.key == "node.name"
    assert told.value.remedy


def test_a_dead_one_of_the_same_name_is_not_in_the_way(database: Database, tmp_path: Path) -> None:
    other(database, tmp_path, name="left")
    with database.write() as connection:
        connection.execute(update(process).values(seen_at=db_later(-SEEN_WITHIN_S - 1)))
    member(database, tmp_path).enter(patience_s=0)


def test_two_nodes_of_one_ae_title_are_told(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other(database, tmp_path)
    with caplog.at_level(logging.WARNING):
        member(database, tmp_path, ae_title="RIGHT").enter(patience_s=0)
    assert "node 'right' (elsewhere:104) and this one (0.0.0.0:11112) both are RIGHT" in caplog.text


def test_nodes_that_do_not_share_their_objects_are_refused(database: Database, tmp_path: Path) -> None:
    other(database, tmp_path / "there")
    with pytest.raises(ConfigurationError, match="keeps its objects in another folder"):
        member(database, tmp_path / "here").enter(patience_s=0)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    assert store_id(tmp_path) == store_id(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises((ConfigurationError, OSError)):
        store_id(tmp_path / "file")
    assert os.listdir(tmp_path / "objects") == [".store"]
