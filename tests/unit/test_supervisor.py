"""Programs are kept running, and end with the supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import dicom_node
from dicom_node.supervisor import Program, Supervisor


def supervised(tmp_path: Path, body: str) -> subprocess.Popen[bytes]:
    """A supervisor in a process of its own; its children write their pids into files."""
    script = tmp_path / "supervise.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            from dataclasses import replace
            from dicom_node.supervisor import Program, Supervisor
            def child(name, code):
                write = "import os,time,pathlib;p=pathlib.Path({str(tmp_path)!r})/" + repr(name)
                write += ";p.write_text((p.read_text() if p.exists() else '')+str(os.getpid())+'\\\\n');"
                return Program(name, [sys.executable, "-c", write + code])
            sys.exit(Supervisor({body}).run())
            """
        )
    )
    root = str(Path(dicom_node.__file__).parents[1])
    return subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": root})


def pids(path: Path, count: int) -> list[int]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and len(path.read_text().split()) >= count:
            return [int(pid) for pid in path.read_text().split()]
        time.sleep(0.05)
    pytest.fail(f"{path.name} did not start {count} times")


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_killed_child_is_started_again_and_all_end_on_sigterm(tmp_path: Path) -> None:
    process = supervised(tmp_path, "[child('a', 'time.sleep(60)'), child('b', 'time.sleep(60)')]")
    first = pids(tmp_path / "a", 1)[0]
    pids(tmp_path / "b", 1)
    os.kill(first, signal.SIGKILL)
    again = pids(tmp_path / "a", 2)[1]
    process.terminate()
    assert process.wait(15) == 0
    assert gone(again)
    assert gone(pids(tmp_path / "b", 1)[0])


def test_child_that_gives_no_sign_of_life_is_replaced(tmp_path: Path) -> None:
    beat = "from dicom_node.pulse import Pulse; pulse = Pulse()\\nwhile True: pulse.beat(); time.sleep(0.1)"
    process = supervised(
        tmp_path,
        f"""[replace(child('a', "{beat}"), pulse_s=1.0, ready_within_s=1.0), child('b', 'time.sleep(60)')]""",
    )
    frozen, other = pids(tmp_path / "a", 1)[0], pids(tmp_path / "b", 1)[0]
    time.sleep(3)
    assert len(pids(tmp_path / "a", 1)) == 1
    os.kill(frozen, signal.SIGSTOP)
    again = pids(tmp_path / "a", 2)[1]
    assert gone(frozen)
    process.terminate()
    assert process.wait(15) == 0
    assert gone(again)
    assert pids(tmp_path / "b", 1) == [other]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    process = supervised(tmp_path, "[child('a', 'time.sleep(60)')]")
    child = pids(tmp_path / "a", 1)[0]
    process.kill()
    process.wait()
    assert gone(child)


def test_wrong_configuration_is_not_tried_again(tmp_path: Path) -> None:
    process = supervised(tmp_path, "[child('a', 'time.sleep(60)'), child('b', 'raise SystemExit(2)')]")
    child = pids(tmp_path / "a", 1)[0]
    assert process.wait(15) == 2
    assert gone(child)
    assert len(pids(tmp_path / "b", 1)) == 1


def test_program_that_is_not_there_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        Supervisor([Program("none", ["/does/not/exist"])]).run()
