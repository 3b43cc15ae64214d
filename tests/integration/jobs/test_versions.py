"""A ledger of a newer version: node and worker refuse it by name, and are not started again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
from noop_queue import NoopQueue
from sqlalchemy import text

RUN_NODE = ("dicom_node.cli.main", "--config", "{file}", "run-node")
UP = ("dicom_node.cli.main", "--config", "{file}", "up")
WORKER = ("workers", "--config", "{file}", "run", "--device", "cpu")


@pytest.mark.parametrize("command", [RUN_NODE, UP, WORKER], ids=["node", "up", "worker"])
def test_newer_ledger_is_refused(new_queue: Callable[..., NoopQueue], command: Sequence[str]) -> None:
    queue = new_queue()
    with queue.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from-the-future'"))

    file = str(queue.folder / "dicom-node.toml")
    ran = subprocess.run(
        [sys.executable, "-m", *(part.format(file=file) for part in command)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=queue.folder,
    )

    assert ran.returncode == 2, ran.stderr
    assert "the ledger has a schema this version does not know" in ran.stderr
    assert "run the version of dicom-node that wrote it, or a newer one" in ran.stderr
