"""A bundle's host process as its worker sees it: started, fed, watched over and, if need be, killed."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt

from dicom_node.archive.optimised import Options
from dicom_node.domain.contract import ModelContract
from dicom_node.errors import (
    ContractError,
    Fenced,
    ModelCrashed,
    ModelError,
    ModelOutOfMemory,
    ModelOutputError,
    ModelRaised,
    ModelTimeout,
)
from workers import device as devices
from workers.inference import failures, returns, wire
from workers.inference.volume import Volume

_LOOK_EVERY_S = 0.1
_KEPT_OUTPUT_BYTES = 16_384
# Private memory that is mapped but never touched: libraries' tables, and the stack of every thread.
_UNTOUCHED_MB = 512
_STACK_MB = 8


@dataclass(frozen=True, slots=True)
class Watch:
    """How long one order may take, and who is told."""

    limit_s: float
    until: float  # time.monotonic()
    what: str  # in words: what takes too long
    progress: Callable[[str], None]
    cancelled: Callable[[], bool]


class HostProcess:
    """One host with one bundle. After any exception it is of no more use: :meth:`kill` it."""

    def __init__(
        self, contract: ModelContract, device: str, options: Options | None = None, exported: Path | None = None
    ) -> None:
        """``options``: how the networks are computed; ``exported``: the file that they name."""
        self.contract = contract
        self._options, self._exported = options or Options(), exported
        self.versions: dict[str, str] = {}
        self.seconds: dict[str, float] = {}  # of its start
        self._device = device
        self._scratch = Path(tempfile.mkdtemp(prefix="dicom-node-host-"))
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.host", *map(str, _arguments(theirs))],
                cwd=Path(__file__).parents[2],
                env=devices.environment(device, str(self._scratch), os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._output = _Tail(self._process.stdout)

    def load(self, watch: Watch) -> None:
        """Close the sandbox, import, build the network.

        Raises:
            ContractError: the bundle is broken.
            ModelError, Fenced: as :meth:`run`.
        """
        contract = self.contract
        memory_mb = contract.resources.memory_mb + _UNTOUCHED_MB + _STACK_MB * devices.threads()
        order = {
            "do": "load",
            "folder": str(contract.folder.resolve()),
            "configuration": contract.configuration,
            "weights": {weight.path: weight.sha256 for weight in contract.weights},
            "outputs": returns.orders(contract),
            "options": asdict(self._options),
            "exported": str(self._exported) if self._exported else None,
            "sampling": returns.sampling(contract),
            "explaining": returns.explaining(contract),
            "device": self._device,
            "scratch": str(self._scratch),
            "gpu_memory_mb": contract.resources.gpu_memory_mb,
            "private_memory_mb": memory_mb if self._device == "cpu" else None,
        }
        answer = self._ask(order, (), watch)
        self.versions = {str(key): str(value) for key, value in answer["versions"].items()}
        self.seconds = {str(key): float(value) for key, value in answer["seconds"].items()}

    def run(
        self,
        volumes: Mapping[str, Volume],
        watch: Watch,
        rung: int = 0,
        draws: int = 0,
        features: Sequence[float] = (),
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, float], tuple[int, str]]:
        """The arrays of the contract's outputs (:mod:`workers.inference.outputs`), and seconds per step.

        Last comes the rung of the ladder of :mod:`workers.inference.ladder` on which memory sufficed, from ``rung`` on,
        and in words what it means; no words for the first. With ``draws`` an explanation is compared with those of as
        many networks of random weights. ``features``: of :mod:`workers.fusion.vector`, where the model takes any.

        Raises:
            ModelRaised, ModelTimeout, ModelOutOfMemory, ModelCrashed, ModelOutputError: as named.
            ContractError: the bundle is broken.
            Fenced: ``watch.cancelled`` said so.
        """
        began = time.perf_counter()
        shape = next(iter(volumes.values())).grid.shape
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(wire.share(volume.array)) for volume in volumes.values()]
            output = stack.enter_context(wire.shared_file(returns.expected_bytes(self.contract, shape)))
            order = {"do": "run", "inputs": self._inputs(volumes), "rung": rung, "draws": draws}
            order["features"] = list(features)
            sent = time.perf_counter()
            answer = self._ask(order, [file.fileno() for file in (*files, output)], watch)
            received = time.perf_counter()
            output.seek(0)
            arrays = returns.checked(self.contract, answer["arrays"], output.read(), shape)
        seconds = {str(key): float(value) for key, value in answer["seconds"].items()}
        seconds["transfer"] = (sent - began) + (time.perf_counter() - received)
        return arrays, seconds, (int(answer["rung"]), str(answer["rung_words"]))

    def export(self, volumes: Mapping[str, Volume], watch: Watch) -> Path:
        """The network as ONNX, as :func:`workers.inference.faster.export` writes it; gone with this process.

        Raises:
            ContractError: reason ``option``: it cannot be exported.
            ModelError, Fenced: as :meth:`run`.
        """
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(wire.share(volume.array)) for volume in volumes.values()]
            order = {"do": "export", "inputs": self._inputs(volumes), "file": "network.onnx"}
            self._ask(order, [file.fileno() for file in files], watch)
        return self._scratch / "network.onnx"

    def _inputs(self, volumes: Mapping[str, Volume]) -> list[dict[str, Any]]:
        dimensions = {role.name: role.dimensions for role in self.contract.inputs}
        return [_told(role, volume, dimensions[role]) for role, volume in volumes.items()]

    def is_alive(self) -> bool:
        """Whether it can take another order."""
        return self._process.poll() is None

    def memory_mb(self) -> float:
        """Memory it holds now, in MB; 0 when it is gone."""
        return resident_mb(self._process.pid) if self.is_alive() else 0.0

    def kill(self) -> None:
        """End it and what it started, and remove its scratch folder."""
        self._connection.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.join()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _ask(self, order: dict[str, Any], descriptors: tuple[int, ...] | list[int], watch: Watch) -> dict[str, Any]:
        try:
            wire.send(self._connection, order, descriptors)
            while True:
                self._watch(watch)
                received = wire.receive(self._connection)
                if received is None:
                    raise self._crashed()
                message = received[0]
                if message.get("is") == "progress":
                    watch.progress(str(message.get("step")))
                elif message.get("is") == "failed":
                    raise self._failed(message)
                else:
                    return message
        except (wire.WireError, OSError) as error:
            raise self._crashed() from error

    def _watch(self, watch: Watch) -> None:
        """Return when a message waits; raise when time, memory or the right to go on has run out."""
        while not select.select([self._connection], [], [], _LOOK_EVERY_S)[0]:
            if watch.cancelled():
                raise Fenced(f"the run of {self.contract.name} was cancelled", reason="cancelled")
            if time.monotonic() > watch.until:
                raise ModelTimeout(
                    f"{self.contract.name} took longer than {watch.limit_s:g} s to {watch.what}, and was ended",
                    remedy="raise time_limit_s under [resources] of its model.toml, or give it a faster device",
                    output=self._output.text(),
                )
            limit_mb = self.contract.resources.memory_mb
            if (used_mb := self.memory_mb()) > limit_mb:
                raise self._out_of_memory(f"used {used_mb:.0f} MB of memory")

    def _failed(self, message: dict[str, Any]) -> ModelError | ContractError:
        text, remedy = str(message.get("message")), str(message.get("remedy", ""))
        traceback = str(message.get("traceback", ""))
        name, output = self.contract.name, self._output.text()
        match message.get("kind"):
            case "contract":
                return ContractError(text, remedy=remedy)
            case "output":
                reason = str(message.get("reason")) or None
                return ModelOutputError(
                    f"{name}: {text}", reason=reason, remedy=remedy, traceback=traceback, output=output
                )
            case "memory":
                return self._out_of_memory(f"could not get the memory it asked for ({text})", traceback)
        return ModelRaised(
            f"{name} raised {text}",
            remedy="the traceback shows where; try the bundle on this series outside, or report it to its maker",
            traceback=traceback,
            output=output,
        )

    def _out_of_memory(self, what: str, traceback: str = "") -> ModelOutOfMemory:
        resources = self.contract.resources
        gpu = f" and {resources.gpu_memory_mb} MB on the GPU" if resources.gpu_memory_mb else ""
        return ModelOutOfMemory(
            f"{self.contract.name} {what}; it may have {resources.memory_mb} MB{gpu}",
            remedy="raise memory_mb (or gpu_memory_mb) under [resources] of its model.toml if the machine has more, "
            "or send this model smaller series",
            traceback=traceback,
            output=self._output.text(),
        )

    def _crashed(self) -> ModelError:
        try:
            status = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return self._ended(f"the process of {self.contract.name} closed its connection and hung")
        if failures.tells_of_memory(self._output.text()):
            return self._out_of_memory("died for want of memory")
        if status == -signal.SIGKILL:
            return self._ended(
                f"the process of {self.contract.name} was killed, likely since the machine's memory ran out"
            )
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
        return self._ended(f"the process of {self.contract.name} ended {how}")

    def _ended(self, what: str) -> ModelCrashed:
        return ModelCrashed(
            what,
            remedy="the last lines it printed may say why; if it happens again, report it to the model's maker",
            output=self._output.text(),
        )


def _arguments(theirs: socket.socket) -> tuple[int, int, int]:
    """Descriptor, parent, and whether the parent's life may be tied to this thread's, as Linux does."""
    return theirs.fileno(), os.getpid(), int(threading.current_thread() is threading.main_thread())


def _told(role: str, volume: Volume, dimensions: int) -> dict[str, Any]:
    affine = volume.grid.ras_affine_whd().tolist()
    return {"role": role, "shape": volume.array.shape, "ras_affine": affine, "dimensions": dimensions}


def resident_mb(pid: int) -> float:
    """Memory a process holds that is not files', in MB; 0 when it is gone."""
    if sys.platform == "linux":
        try:
            lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return 0.0
        return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))) / 1024
    else:
        told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return int(told.stdout.strip() or 0) / 1024


class _Tail(threading.Thread):
    """Reads what a host prints, so that it never blocks, and keeps the end of it."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        super().__init__(name="host output", daemon=True)
        self._stream = stream
        self._kept = b""
        self.start()

    def run(self) -> None:
        if self._stream is None:
            return
        with self._stream as stream:
            while part := os.read(stream.fileno(), 4096):
                self._kept = (self._kept + part)[-_KEPT_OUTPUT_BYTES:]

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")
