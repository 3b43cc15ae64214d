from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dicom_node.archive.places import Places, only_process, socket_folder
from dicom_node.errors import ConfigurationError


def test_places_are_below_the_data_directory(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert [place.relative_to(tmp_path).as_posix() for place in (places.objects, places.results, places.ledger)] == [
        "objects",
        "results",
        "ledger.sqlite",
    ]
    assert places.logs.parent == places.run.parent == tmp_path


@pytest.mark.parametrize("depth", [0, 10])
def test_a_socket_fits_into_its_folder(tmp_path: Path, depth: int) -> None:
    data_dir = tmp_path.joinpath(*["a long name"] * depth)
    folder = socket_folder(data_dir)
    assert folder == socket_folder(data_dir)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.is_relative_to(data_dir) == (depth == 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(folder / "a-name-of-20-letters"))
    (folder / "a-name-of-20-letters").unlink()
    folder.rmdir()


def test_data_directories_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    long = "x" * 90
    assert socket_folder(tmp_path / long / "one") != socket_folder(tmp_path / long / "two")


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(ConfigurationError, match="belongs to user"):
        socket_folder(tmp_path)


HOLD = """
import sys, time
from pathlib import Path
from dicom_node.archive.places import only_process
with only_process(Path(sys.argv[1]), "node"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_node_is_refused_and_told_which_process_holds_it(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            refused = pytest.raises(ConfigurationError, match=f"process {holder.pid} is already the node")
            with refused, only_process(tmp_path, "node", 0.3):
                pytest.fail("two nodes hold one data directory")
        finally:
            holder.kill()
    with only_process(tmp_path, "node"):
        assert (tmp_path / "run" / "node.lock").read_text() == f"{os.getpid()}\n"


def test_process_that_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", HOLD.replace("60", "0.5"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with only_process(tmp_path, "node"):
            assert holder.wait(10) == 0
