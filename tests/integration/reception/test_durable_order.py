"""The order of system calls: an object is answered only when its bytes and its name are on the disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from listening import AcceptorProcess
from peers import unavailable
from soak.objects import EXPLICIT_LITTLE, MR, make, new_uid

from dicom_node.archive.journal import names_follow_files
from dicom_node.dimse.send import Sender
from dicom_node.domain.sending import OutgoingObject

OBJECTS = 40
CALLS = "openat,write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2,close,sendto"
# strace -f -y: "123 writev(7</data/000.part>, …) = 10"; a call that another thread interrupts is shown in two parts
_LINE = re.compile(r"(?P<thread>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?: resumed>|\()(?P<rest>.*)")


@dataclass(frozen=True, slots=True)
class Call:
    """One finished system call."""

    name: str
    text: str  # arguments and result


def calls_by_thread(trace: str) -> Iterator[list[Call]]:
    """What each thread did, in order."""
    threads: dict[str, list[Call]] = {}
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        thread, rest = found["thread"], found["rest"]
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>")
        else:
            threads.setdefault(thread, []).append(Call(found["call"], begun.pop(thread, "") + rest))
    yield from threads.values()


def steps(calls: list[Call]) -> list[tuple[str, str]]:
    """The calls that matter, with the object or folder they concern."""
    found = []
    for call in calls:
        assert "= -1" not in call.text or call.name == "sendto", call
        if call.name == "openat" and ".part" in call.text and "O_CREAT" in call.text:
            found.append(("create", _file(call.text)))
        elif call.name in ("write", "writev") and ".part>" in call.text:
            found.append(("write", _file(call.text)))
        elif call.name == "pwrite64":
            found.append(("seal", _file(call.text)))
        elif call.name in ("fsync", "fdatasync"):
            found.append(("sync", _file(call.text)))
        elif call.name.startswith("rename"):
            found.append(("rename", _file(call.text)))
        elif call.name == "sendto" and "\\4\\0" in call.text:
            found.append(("answer", ""))
    return found


def _file(text: str) -> str:
    """Folder and stem of the first file of a call, or the folder."""
    paths = re.findall(r'["<](/[^">]*)[">]', text)
    return next(path for path in paths if "objects" in path).removesuffix(".part")


@pytest.fixture
def traced(tmp_path: Path) -> tuple[AcceptorProcess, Path]:
    """A running acceptor, and where its calls are written."""
    if shutil.which("strace") is None:
        unavailable("strace is not installed", "apt-get install strace")
    return AcceptorProcess(tmp_path / "node"), tmp_path / "trace"


@pytest.mark.peer
@pytest.mark.parametrize("commit", ["portable", "auto"])
def test_bytes_and_name_are_on_the_disk_before_it_is_answered(
    commit: str, traced: tuple[AcceptorProcess, Path], tmp_path: Path
) -> None:
    acceptor, trace = traced
    acceptor.commit = commit
    one_flush = commit == "auto" and names_follow_files(tmp_path)
    study = new_uid()
    objects = []
    for number in range(OBJECTS):
        made = make(study, number, os.urandom(2 * number * 5000))
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(made.part10())
        objects.append(OutgoingObject(path, MR, made.uid, EXPLICIT_LITTLE))
    acceptor.start()
    assert acceptor.process is not None
    tracing = ["strace", "-f", "-y", "-s", "8", "-e", f"trace={CALLS}", "-o", str(trace), "-p"]
    tracer = subprocess.Popen([*tracing, str(acceptor.process.pid)], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if "attached" not in said:
            unavailable(f"strace cannot attach: {said.strip()}", "allow ptrace")
        outcomes = Sender().send(acceptor.peer, "STORESCU", objects)
    finally:
        tracer.terminate()
        tracer.wait(20)
        acceptor.kill()

    assert all(each.ok for each in outcomes)
    (told,) = [found for calls in calls_by_thread(trace.read_text()) if ("answer", "") in (found := steps(calls))]
    answers = 0
    while told:
        while told and told[0] not in (("answer", ""),) and told[0][0] != "create":
            told.pop(0)  # the folder of a segment, made durable when it is opened
        if not told or told[0] == ("answer", ""):
            assert answers == 0 or not told or answers == OBJECTS, told[:8]
            told = told[1:]
            continue
        name = told.pop(0)[1]
        while told[0] == ("write", name):
            told.pop(0)
        folder = str(Path(name).parent)
        durable = [("sync", name), ("rename", name), ("sync", folder)]
        if one_flush:
            durable = [("seal", name), ("rename", name), ("sync", f"{name}.dcm")]
        wanted = [*durable, ("answer", "")]
        assert told[: len(wanted)] == wanted
        told, answers = told[len(wanted) :], answers + 1
    assert answers == OBJECTS
