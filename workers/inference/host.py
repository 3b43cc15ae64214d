"""The process in which one bundle lives: ``python -m workers.inference.host DESCRIPTOR PARENT``.

It reads orders from the socket ``DESCRIPTOR`` and dies with the process ``PARENT``. The first order names the bundle
and the limits; the sandbox closes before anything of the bundle, torch or MONAI is imported.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_node import sandbox
from dicom_node.archive.optimised import Options
from dicom_node.errors import ContractError, DicomNodeError, ModelOutputError
from workers import device
from workers.inference import failures, wire

if TYPE_CHECKING:
    from workers.inference.bundle import Bundle

# Keeps any message under the wire's limit.
_LONGEST_TEXT = 200_000


class Host:
    """Obeys one worker, an order at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._orders: queue.SimpleQueue[tuple[dict[str, Any], list[int]]] = queue.SimpleQueue()
        self._bundle: Bundle | None = None

    def serve(self) -> None:
        """Load, then run until the worker closes."""
        first = wire.receive(self._connection)
        if first is None:
            return
        self._obey(first[0], first[1])
        threading.Thread(target=self._read, name="orders", daemon=True).start()
        while True:
            order, descriptors = self._orders.get()
            self._obey(order, descriptors)

    def _read(self) -> None:
        """A closed control socket means that nobody waits for an answer: leave at once, even out of a computation."""
        try:
            while (received := wire.receive(self._connection)) is not None:
                self._orders.put(received)
        except (OSError, wire.WireError) as error:
            print(f"control socket: {error}", file=sys.stderr)  # noqa: T201  the worker keeps what a host prints
        os._exit(0)

    def _obey(self, order: dict[str, Any], descriptors: list[int]) -> None:
        try:
            do = {"load": self._load, "run": self._run, "export": self._export}[order["do"]]
            answer = do(order, descriptors)
        except (Exception, SystemExit) as error:  # noqa: BLE001  the top of the loop: what failed is told to the worker
            answer = _failure(error)
        finally:
            for descriptor in descriptors:
                _close(descriptor)
        wire.send(self._connection, answer)

    def _load(self, order: dict[str, Any], _: list[int]) -> dict[str, Any]:
        began = time.perf_counter()
        scratch, folder = Path(order["scratch"]), Path(order["folder"])
        os.chdir(scratch)
        level = sandbox.enter(memory_mb=order["private_memory_mb"], scratch=scratch, gpu=order["device"] != "cpu")
        sys.path.insert(0, str(folder))
        self._progress("starting")
        torch, bundle = _libraries()

        torch.set_num_threads(device.threads())
        chosen = bundle.choose_device(order["device"])
        if chosen.type == "cuda" and (limit_mb := order["gpu_memory_mb"]):
            total = torch.cuda.get_device_properties(chosen).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, limit_mb * 2**20 / total), chosen)
        started = time.perf_counter()
        self._progress("loading")
        options, exported = Options(**order["options"]), order["exported"]
        file = Path(exported) if exported else None
        listed, outputs = order["weights"], order["outputs"]
        self._bundle = bundle.Bundle(
            folder,
            order["configuration"],
            listed,
            chosen,
            outputs,
            options,
            file,
            order["sampling"],
            order["explaining"],
        )
        seconds = {"start": started - began, "load": time.perf_counter() - started}
        return {"is": "loaded", "versions": bundle.versions(chosen) | {"sandbox": str(level)}, "seconds": seconds}

    def _run(self, order: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        bundle = self._loaded()
        inputs, features = _inputs(order, descriptors), order["features"]
        arrays, seconds, rung = bundle.run(inputs, self._progress, order["rung"], order["draws"], features)
        with os.fdopen(os.dup(descriptors[-1]), "r+b") as output:
            for array in arrays.values():
                array.tofile(output)
        told_arrays = [[name, array.dtype.name, array.shape] for name, array in arrays.items()]
        words = bundle.rung(rung) if rung else ""
        return {"is": "done", "seconds": seconds, "arrays": told_arrays, "rung": rung, "rung_words": words}

    def _export(self, order: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """Write the network into the scratch folder, which is all that a host can write to."""
        self._loaded().export(_inputs(order, descriptors), Path.cwd() / order["file"])
        return {"is": "exported"}

    def _loaded(self) -> Bundle:
        if self._bundle is None:
            raise ContractError("the bundle is not loaded")
        return self._bundle

    def _progress(self, step: str) -> None:
        wire.send(self._connection, {"is": "progress", "step": step})


def _inputs(order: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """The volumes of an order, in shared memory."""
    from workers.inference.bundle import Input

    inputs = {}
    for index, told in enumerate(order["inputs"]):
        array = wire.mapped(os.dup(descriptors[index]), np.float32, tuple(told["shape"]))
        affine = np.asarray(told["ras_affine"], dtype=np.float64)
        inputs[told["role"]] = Input(array, affine, told["dimensions"])
    return inputs


def _libraries() -> tuple[Any, Any]:
    """torch and our use of MONAI: imported only behind the sandbox."""
    try:
        import torch

        from workers.inference import bundle
    except ImportError as error:
        raise ContractError(
            f"this machine cannot run bundles: {error}", remedy="install them with: pip install 'dicom-node[worker]'"
        ) from error
    return torch, bundle


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError as error:
        print(f"closing an input: {error}", file=sys.stderr)  # noqa: T201


def _failure(error: BaseException) -> dict[str, Any]:
    kind = "raised"
    if failures.is_out_of_memory(error):
        kind = "memory"
    elif isinstance(error, ContractError):
        kind = "contract"
    elif isinstance(error, ModelOutputError):
        kind = "output"
    mine = isinstance(error, DicomNodeError)
    return {
        "is": "failed",
        "kind": kind,
        "message": (str(error) if mine else failures.innermost(error))[:_LONGEST_TEXT],
        "remedy": error.remedy if isinstance(error, DicomNodeError) else "",
        "reason": error.reason if isinstance(error, DicomNodeError) else "",
        "traceback": failures.formatted(error)[-_LONGEST_TEXT:],
    }


def main() -> None:
    """Run a host on the descriptor and for the parent that the command line names."""
    descriptor, parent, from_main_thread = (int(argument) for argument in sys.argv[1:4])
    if from_main_thread:
        sandbox.die_with_parent(parent)
    Host(socket.socket(fileno=descriptor)).serve()


if __name__ == "__main__":
    main()
