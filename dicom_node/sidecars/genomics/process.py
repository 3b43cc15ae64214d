"""The reader's process, from outside: started for one file, held to its limits, and never believed to survive."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dicom_node.errors import ConfigurationError, GenomeError
from dicom_node.sidecars.genomics.order import Limits, Order
from dicom_node.sidecars.genomics.reader import ANSWER

_READER = "dicom_node.sidecars.genomics.reader"
_LONGEST_ANSWER = 256 << 20  # bytes
_PASSED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")  # of the environment: no secrets of the node
_LAST_WORDS = 400  # characters of what it said on its standard error


def read(order: Order, limits: Limits) -> dict[str, Any]:
    """What ``reading.read`` answers, from a process of its own.

    Raises:
        GenomeError: the file is refused, or the reader crashed on it or passed its limits; names the file.
        ConfigurationError: pysam is not installed.
    """
    with _scratch() as scratch:
        answer: dict[str, Any] = _run("read", order.file, order.as_json(), limits, scratch)
        return answer


def measure(order: Order, limits: Limits, output: Path) -> dict[str, Any]:
    """Make a named reference of a cohort and put it to ``output``.

    Raises:
        GenomeError: as ``read``.
        ConfigurationError: pysam is not installed.
    """
    with _scratch() as scratch:
        made = scratch / f"reference{output.suffix}"
        told = order.as_json() | {"output": str(made)}
        answer: dict[str, Any] = _run("measure", order.file, told, limits, scratch)
        shutil.copyfile(made, output)
        return answer


def consequences(
    file: Path, sample: str, sequence: Path, annotation: Path, genes: tuple[str, ...], limits: Limits
) -> list[dict[str, Any]]:
    """What ``consequence.consequences`` answers, from a process of its own.

    Raises:
        GenomeError: as ``read``.
        ConfigurationError: pysam is not installed.
    """
    told = {
        "file": str(file),
        "sample": sample,
        "sequence": str(sequence),
        "annotation": str(annotation),
        "genes": list(genes),
    }
    with _scratch() as scratch:
        answer: list[dict[str, Any]] = _run("consequences", file, told, limits, scratch)
        return answer


def check_installed() -> None:
    """Whether genomes can be read at all.

    Raises:
        ConfigurationError: pysam is not installed.
    """
    if find_spec("pysam") is None:
        raise ConfigurationError(
            "pysam, which reads genomes, is not installed",
            reason="not-installed",
            remedy="pip install 'dicom-node[genomics]'",
        )


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dicom-node-genome-") as folder:
        yield Path(folder)


def _run(what: str, file: Path, order: Mapping[str, Any], limits: Limits, scratch: Path) -> Any:
    check_installed()
    told = json.dumps({"order": order, "limits": asdict(limits)})
    said = scratch / "said"
    with said.open("wb") as output:
        # Importable from wherever we are; never from the folder the command runs in.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _READER, what, str(os.getpid()), str(scratch)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={name: os.environ[name] for name in _PASSED if name in os.environ} | {"PYTHONPATH": _path()},
        )
        try:
            process.communicate(told.encode(), timeout=limits.wall_seconds)
        except subprocess.TimeoutExpired as error:
            raise _too_long(file, f"{limits.wall_seconds:g} s") from error
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    _check_end(process.returncode, file, limits, said)
    answer = scratch / ANSWER
    if answer.stat().st_size > _LONGEST_ANSWER:
        raise GenomeError(f"{file.name}: what it yields is too much", reason="genome-too-large")
    return _taken(file, json.loads(answer.read_text(encoding="utf-8")))


def _path() -> str:
    """Where this package is, and what was on the path already."""
    here = str(Path(__file__).parents[3])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))


def _check_end(status: int, file: Path, limits: Limits, said: Path) -> None:
    if status == 0:
        return
    if -status == signal.SIGXCPU:
        raise _too_long(file, f"{limits.cpu_seconds} s of CPU")
    words = said.read_bytes()[-_LAST_WORDS:].decode(errors="replace").strip().splitlines()
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    raise GenomeError(
        f"{file.name}: the reader crashed on it ({how}{': ' + words[-1] if words else ''}); nothing was read",
        reason="genome-reader-crashed",
        remedy="have the file made anew; if it is good, tell us",
    )


def _too_long(file: Path, limit: str) -> GenomeError:
    return GenomeError(
        f"{file.name}: reading it took more than {limit}",
        reason="genome-too-slow",
        remedy="raise genomics.cpu_seconds, or split the file",
    )


def _taken(file: Path, answer: Mapping[str, Any]) -> Any:
    error = answer.get("error")
    if error:
        message = str(error["message"])
        named = message if message.startswith(file.name) or file.name in message else f"{file.name}: {message}"
        raise GenomeError(named, reason=error["reason"], remedy=error["remedy"])
    return answer["answer"]
