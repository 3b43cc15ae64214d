"""One warm host process per bundle: started on first use, evicted when others need the room, replaced when it fails."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.archive.optimised import Choice
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.feature import numbers
from dicom_node.domain.output import MaskOutput
from dicom_node.errors import InputError, ModelOutOfMemory
from workers import device as devices
from workers.inference import returns
from workers.inference.alignment import aligned
from workers.inference.hosts import HostProcess, Watch
from workers.inference.rungs import Rungs
from workers.inference.volume import Volume

log = logging.getLogger(__name__)

# Importing torch and MONAI and reading weights from a slow disk; no model's own limit counts it.
START_LIMIT_S = 300.0
_SHARE_OF_MACHINE = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class ModelOutput:
    """What a model yields."""

    arrays: Mapping[str, npt.NDArray[Any]]  # by output, as workers.inference.outputs names them
    timings: dict[str, float]  # seconds: start, load (0 when warm), transfer, preprocessing, inference, …, total
    versions: dict[str, str]  # torch, monai, numpy, device, sandbox; memory: where it did not suffice at first
    samples: tuple[Mapping[str, npt.NDArray[Any]], ...] = ()  # of masks and values

    @property
    def label_map(self) -> npt.NDArray[np.uint8]:
        """That of a model with one output of segments which do not overlap; axes (slice, row, column)."""
        (layers,) = [array for array in self.arrays.values() if array.dtype == np.uint8]
        (label_map,) = layers
        return np.asarray(label_map)

    def layers(self, contract: ModelContract) -> tuple[npt.NDArray[np.uint8], ...]:
        """Label maps, each uint8 (slice, row, column) on the grid of the first role's volume; 0 is background."""
        return _layers(contract, self.arrays)

    def sampled_layers(self, contract: ModelContract) -> tuple[tuple[npt.NDArray[np.uint8], ...], ...]:
        """The label maps of each sample."""
        return tuple(_layers(contract, sample) for sample in self.samples)

    def probabilities(self, contract: ModelContract) -> dict[int, npt.NDArray[np.float32]]:
        """Of the segments whose output keeps them, by number: (slice, row, column)."""
        kept = [output for output in contract.outputs if isinstance(output, MaskOutput) and output.keep]
        return {
            number: field
            for output in kept
            for number, field in zip(
                contract.segment_numbers(output.segments), self.arrays[f"{output.name}/probabilities"], strict=True
            )
        }


def _layers(contract: ModelContract, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[npt.NDArray[np.uint8], ...]:
    masks = [output for output in contract.outputs if isinstance(output, MaskOutput)]
    return tuple(layer for output in masks for layer in arrays[output.name])


class HostPool:
    """Runs bundles, each in a process of its own. One run at a time."""

    def __init__(
        self,
        device: str = "auto",
        *,
        maximum_hosts: int = 4,
        memory_mb: int | None = None,
        remembered: Path | None = None,
        chosen: Callable[[str], tuple[Choice, Path | None] | None] | None = None,
    ) -> None:
        """``device``: auto, cpu, cuda or cuda:<index>. ``memory_mb``: what all hosts may hold together.

        ``remembered``: the file that keeps where memory sufficed across restarts (:mod:`workers.inference.rungs`).
        ``chosen``: how the bundle of a digest is computed here, if not as it says, and the file that this names.
        """
        self._device = devices.settled(device)
        self.maximum_hosts = maximum_hosts
        self._memory_mb = memory_mb or int(_SHARE_OF_MACHINE * _machine_mb())
        self._hosts: OrderedDict[str, HostProcess] = OrderedDict()  # by digest; least recently used first
        self._rungs = Rungs(self._device, remembered)
        self._lock = threading.Lock()
        self._chosen = chosen or (lambda digest: None)

    def warm(self, contract: ModelContract, cancelled: Callable[[], bool] | None = None) -> None:
        """Load a bundle before it is needed.

        Raises:
            ContractError, ModelError, Fenced: as :meth:`run`.
        """
        with self._lock:
            self._host(contract, None, _ignore, cancelled or _never)

    def run(
        self,
        contract: ModelContract,
        volumes: Mapping[str, Volume],
        *,
        deadline_s: float | None = None,
        progress: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        draws: int = 0,
        features: Sequence[float] = (),
    ) -> ModelOutput:
        """Run a model on the volumes of its roles, and ``features`` (:mod:`workers.fusion.vector`) where it takes any.

        ``deadline_s``: seconds from now that the call may take, a start of the host included; the contract's own
        limit counts from when the host is ready. ``progress`` is told starting, loading, preprocessing, inference and
        postprocessing; ``cancelled`` is asked ten times a second. ``draws``: of random weights, that an explanation is
        compared with (``NAME/likeness`` among the arrays). Whatever fails, the next run gets a fresh host.

        Raises:
            ContractError: the bundle is broken; names the file and what is wrong with it.
            ModelRaised, ModelTimeout, ModelOutOfMemory, ModelCrashed, ModelOutputError: with ``traceback`` and the
                last lines of ``output``.
            InputError, GeometryError: the volumes, or the features, are not those of the contract.
            Fenced: ``cancelled`` returned true (reason ``cancelled``).
        """
        began = time.monotonic()
        _expect_features(contract, features)
        ordered = aligned(contract, volumes)
        told, asked = progress or _ignore, cancelled or _never
        until = None if deadline_s is None else began + deadline_s
        with self._lock:
            warm = contract.digest in self._hosts
            shape = (contract.digest, ordered[contract.inputs[0].name].grid.shape)
            host = self._host(contract, until, told, asked)
            try:
                watch = _watch("compute", contract.resources.time_limit_s, until, told, asked)
                arrays, seconds, (rung, words) = host.run(ordered, watch, self._rungs.get(*shape), draws, features)
                self._rungs.put(*shape, rung)
            except BaseException as error:
                if isinstance(error, ModelOutOfMemory):
                    self._rungs.put(*shape, self._rungs.get(*shape) + 1)  # the next attempt begins lower
                self._discard(contract.digest)
                raise
            timings = dict.fromkeys(host.seconds, 0.0) if warm else host.seconds.copy()
        versions = host.versions | ({"memory": words} if words else {})
        samples = tuple(returns.of_samples(arrays))
        arrays = {name: array for name, array in arrays.items() if not name.partition("/")[0].isdigit()}
        return ModelOutput(arrays, timings | seconds | {"total": time.monotonic() - began}, versions, samples)

    @contextmanager
    def exported(self, contract: ModelContract, volumes: Mapping[str, Volume]) -> Iterator[Path]:
        """The network as ONNX, for inputs as these volumes give it; the file is gone with the block.

        Raises:
            ContractError: reason ``option``: it cannot be exported; or as :meth:`run`.
            ModelError: as :meth:`run`.
        """
        ordered = aligned(contract, volumes)
        with self._lock:
            host = self._host(contract, None, _ignore, _never)
            try:
                watch = _watch("export", contract.resources.time_limit_s + START_LIMIT_S, None, _ignore, _never)
                yield host.export(ordered, watch)
            finally:
                self._discard(contract.digest)

    def cool(self) -> None:
        """End every host, so that the next run has a fresh one, and nothing beside it."""
        with self._lock:
            for digest in list(self._hosts):
                self._discard(digest)

    def close(self) -> None:
        """End every host."""
        self.cool()

    def __enter__(self) -> HostPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _host(
        self,
        contract: ModelContract,
        until: float | None,
        progress: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> HostProcess:
        host = self._hosts.get(contract.digest)
        if host is not None and host.is_alive():
            self._hosts.move_to_end(contract.digest)
            return host
        if host is not None:
            log.warning("the idle host of %s had died; a new one starts", contract.name)
            self._discard(contract.digest)
        self._make_room(contract)
        choice, exported = self._chosen(contract.digest) or (None, None)
        options = choice.options if choice else None
        host = self._hosts[contract.digest] = HostProcess(contract, self._device, options, exported)
        try:
            host.load(_watch("start", START_LIMIT_S, until, progress, cancelled))
            host.versions |= {"optimised": str(choice)} if choice else {}
        except BaseException:
            self._discard(contract.digest)
            raise
        return host

    def _make_room(self, contract: ModelContract) -> None:
        while self._hosts:
            held_mb = sum(host.memory_mb() for host in self._hosts.values())
            if len(self._hosts) < self.maximum_hosts and held_mb + contract.resources.memory_mb <= self._memory_mb:
                return
            oldest = next(iter(self._hosts))
            log.info("the host of %s makes room for %s", self._hosts[oldest].contract.name, contract.name)
            self._discard(oldest)

    def _discard(self, digest: str) -> None:
        self._hosts.pop(digest).kill()


def _watch(
    what: str,
    limit_s: float,
    until: float | None,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> Watch:
    now = time.monotonic()
    allowed_s = limit_s if until is None else max(0.0, min(limit_s, until - now))
    return Watch(round(allowed_s, 1), now + allowed_s, what, progress, cancelled)


def _expect_features(contract: ModelContract, features: Sequence[float]) -> None:
    wanted = len(numbers(contract.features, {}))
    if len(features) != wanted:
        raise InputError(
            f"{contract.name} takes {wanted} numbers of its {len(contract.features)} features, not {len(features)}",
            reason="features",
            remedy="run it as a job of a study whose patient's record the node has" if not features else "",
        )


def _machine_mb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def _ignore(step: str) -> None:
    """Progress that nobody follows."""


def _never() -> bool:
    return False
