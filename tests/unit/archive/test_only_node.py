"""One node on one data directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.archive.places import only_node
from dicom_node.errors import ConfigurationError

HOLD = """
import sys, time
from pathlib import Path
from dicom_node.archive.places import only_node
with only_node(Path(sys.argv[1])):
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
            with pytest.raises(ConfigurationError, match=f"process {holder.pid} is already"), only_node(tmp_path):
                pytest.fail("two nodes hold one data directory")
        finally:
            holder.kill()
    with only_node(tmp_path):
        assert (tmp_path / "run" / "node.lock").read_text() == f"{os.getpid()}\n"
