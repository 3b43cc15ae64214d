"""Two nodes and their workers on one ledger, one broker and one folder of objects."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from brisk_node import PROGRAM
from installed_node import InstalledNode, environment
from peers import Orthanc, PostgreSQL, RedisServer, wait_until
from served_bundles import serve_bundle
from small_series import small_series, write

pytestmark = pytest.mark.peer

RULE = """
[[rules]]
name = "bright"
model = "bright"
all = ['Modality == "MR"', 'instances >= 6']
send_to = ["pacs"]
"""


@dataclass
class Pair:
    """Nodes ``left`` and ``right``, each with a data directory of its own and the objects of both in it."""

    left: InstalledNode
    right: InstalledNode
    pacs: Orthanc

    def sent(self, node: InstalledNode, folder: Path, **attributes: Any) -> str:
        """A study of its own sent to a node; its UID."""
        images = small_series(6, **attributes)
        node.send(write(images, folder))
        return str(images[0].StudyInstanceUID)

    def assert_exactly_one(self, node: InstalledNode, study_uid: str) -> dict[str, Any]:
        """One job, whose results are in the PACS once; as a node tells it."""
        told = node.await_story(study_uid, "delivered", seconds=300)
        (job,) = told["jobs"]
        held = Counter(
            each["MainDicomTags"]["SOPInstanceUID"] for each in self.pacs.get("/instances?expand") if each["FileSize"]
        )
        assert {held[made["sop_uid"]] for made in job["artifacts"]} == {1}
        assert len(told["parcels"]) == 1
        return dict(job)


@pytest.fixture
def pair(tmp_path: Path, orthanc: Orthanc, postgresql: PostgreSQL, redis_server: RedisServer) -> Iterator[Pair]:
    serve_bundle(tmp_path / "models" / "bright", "import time; time.sleep(1)", slices=6)
    shared = tmp_path / "shared"
    more = f'{RULE}\n[database]\nurl = "{postgresql.database()}"\n[broker]\nurl = "{redis_server.url}"\n'
    nodes = []
    for name in ("left", "right"):
        data = tmp_path / name / "data"
        data.mkdir(parents=True)
        for folder in ("objects", "results"):
            (shared / folder).mkdir(parents=True, exist_ok=True)
            (data / folder).symlink_to(shared / folder)
        nodes.append(
            InstalledNode(
                Path(sys.executable).parent,
                tmp_path / name,
                orthanc,
                more,
                (tmp_path / "models",),
                of_node=f'name = "{name}"',
                lease_seconds=5,
                program=PROGRAM,
            )
        )
    try:
        for node in nodes:
            node.start(seconds=180)
        yield Pair(*nodes, orthanc)
    finally:
        for node in nodes:
            node.stop()


def test_two_nodes_do_each_study_once_and_one_goes_on_alone(pair: Pair, tmp_path: Path) -> None:
    studies = [pair.sent(node, tmp_path / f"{node.port}-{n}") for n in range(2) for node in (pair.left, pair.right)]
    split = small_series(6)
    pair.left.send(write(split[:3], tmp_path / "first half"))
    pair.right.send(write(split[3:], tmp_path / "second half"))
    for study_uid in (*studies, str(split[0].StudyInstanceUID)):
        job = pair.assert_exactly_one(pair.left, study_uid)
        assert [chosen["instances"] for chosen in job["inputs"]] == [6]
        assert pair.assert_exactly_one(pair.right, study_uid)["id"] == job["id"]

    orphan = pair.sent(pair.left, tmp_path / "orphan")
    pair.left.kill_all()

    pair.assert_exactly_one(pair.right, orphan)
    pair.assert_exactly_one(pair.right, pair.sent(pair.right, tmp_path / "alone"))
    pair.left.start(seconds=180)  # it waits until the dead one of its name is known to be dead
    pair.assert_exactly_one(pair.left, pair.sent(pair.left, tmp_path / "again"))
    wait_until(lambda: pair.left.cli("check")["good"], "the check to be good")
    assert "both are DICOMNODE" in pair.right.log_tail(200_000) + pair.left.log_tail(200_000)


def test_stages_doubled_by_a_node_that_wakes_up_do_no_harm(pair: Pair, tmp_path: Path) -> None:
    """Each node in turn is frozen beyond its turns, while the other works, and wakes up in the middle of it."""
    studies = []
    for asleep, awake in ((pair.left, pair.right), (pair.right, pair.left)):
        frozen = asleep.processes()["node"]
        studies.append(pair.sent(asleep, tmp_path / f"{asleep.port}-asleep"))
        frozen.suspend()
        try:
            studies.append(pair.sent(awake, tmp_path / f"{awake.port}-awake"))
            pair.assert_exactly_one(awake, studies[-1])
            studies.append(pair.sent(awake, tmp_path / f"{awake.port}-waking"))
        finally:
            frozen.resume()
    for study_uid in studies:
        pair.assert_exactly_one(pair.left, study_uid)


def test_a_second_acceptor_of_one_name_is_refused_by_name(pair: Pair, tmp_path: Path) -> None:
    data = tmp_path / "third" / "data"
    data.mkdir(parents=True)
    (data / "objects").symlink_to(tmp_path / "shared" / "objects")
    third = InstalledNode(
        pair.left.binaries, tmp_path / "third", pair.pacs, pair.left.rules, pair.left.models, of_node='name = "left"'
    )
    third.configure()
    command = [*map(str, PROGRAM), "--config", str(third.configuration), "run-acceptor", "--name", "left-a0"]
    ran = subprocess.run(
        command, cwd=third.folder, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 2
    assert "is already the acceptor left-a0" in ran.stderr
