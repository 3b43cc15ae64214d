"""One warm host process per bundle: started on first use, evicted when others need the room, replaced when it fails."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from dicom_node.domain.contract import InputRole, ModelContract
from dicom_node.errors import GeometryError, InputError, ModelOutputError
from workers import device as devices
from workers.inference.hosts import HostProcess, Watch
from workers.inference.volume import Volume

log = logging.getLogger(__name__)

# Importing torch and MONAI and reading weights from a slow disk; no model's own limit counts it.
START_LIMIT_S = 300.0
_SHARE_OF_MACHINE = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class ModelOutput:
    """What a model yields for a segmentation."""

    label_map: npt.NDArray[np.uint8]  # axes (slice, row, column), on the grid of the first role's volume; 0 background
    timings: dict[str, float]  # seconds: start, load (0 when warm), transfer, preprocessing, inference, …, total
    versions: dict[str, str]  # torch, monai, numpy, device, sandbox


class HostPool:
    """Runs bundles, each in a process of its own. One run at a time."""

    def __init__(self, device: str = "auto", *, maximum_hosts: int = 4, memory_mb: int | None = None) -> None:
        """``device``: auto, cpu, cuda or cuda:<index>. ``memory_mb``: what all hosts may hold together."""
        self._device = devices.settled(device)
        self.maximum_hosts = maximum_hosts
        self._memory_mb = memory_mb or int(_SHARE_OF_MACHINE * _machine_mb())
        self._hosts: OrderedDict[str, HostProcess] = OrderedDict()  # by digest; least recently used first
        self._lock = threading.Lock()

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
    ) -> ModelOutput:
        """Run a model on the volumes of its roles.

        ``deadline_s``: seconds from now that the call may take, a start of the host included; the contract's own
        limit counts from when the host is ready. ``progress`` is told starting, loading, preprocessing, inference and
        postprocessing; ``cancelled`` is asked ten times a second. Whatever fails, the next run gets a fresh host.

        Raises:
            ContractError: the bundle is broken; names the file and what is wrong with it.
            ModelRaised, ModelTimeout, ModelOutOfMemory, ModelCrashed, ModelOutputError: with ``traceback`` and the
                last lines of ``output``.
            InputError, GeometryError: the volumes are not those of the contract's roles.
            Fenced: ``cancelled`` returned true (reason ``cancelled``).
        """
        began = time.monotonic()
        ordered = _ordered(contract, volumes)
        told, asked = progress or _ignore, cancelled or _never
        until = None if deadline_s is None else began + deadline_s
        with self._lock:
            warm = contract.digest in self._hosts
            host = self._host(contract, until, told, asked)
            try:
                watch = _watch("compute", contract.resources.time_limit_s, until, told, asked)
                labels, seconds = host.run(ordered, watch)
                _check_labels(contract, labels)
            except BaseException:
                self._discard(contract.digest)
                raise
            timings = dict.fromkeys(host.seconds, 0.0) if warm else host.seconds.copy()
        return ModelOutput(labels, timings | seconds | {"total": time.monotonic() - began}, host.versions)

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
        host = self._hosts[contract.digest] = HostProcess(contract, self._device)
        try:
            host.load(_watch("start", START_LIMIT_S, until, progress, cancelled))
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


def _ordered(contract: ModelContract, volumes: Mapping[str, Volume]) -> dict[str, Volume]:
    """The volumes in the order of the contract's roles."""
    roles = [role.name for role in contract.inputs]
    if set(roles) != set(volumes) or not roles:
        raise InputError(
            f"{contract.name} takes the series {', '.join(roles)}, not {', '.join(volumes) or 'none'}",
            reason="roles",
            remedy="give one series for each of its roles",
        )
    ordered = {role: volumes[role] for role in roles}
    for role in contract.inputs:
        _check_extent(contract.name, role, ordered[role.name])
    if len({volume.frame_of_reference_uid for volume in ordered.values()}) > 1:
        raise GeometryError(
            f"the series for {contract.name} lie in different frames of reference",
            reason="mixed-frames-of-reference",
            remedy="choose series of one examination, acquired without moving the patient, or register them first",
        )
    return ordered


def _check_extent(model: str, role: InputRole, volume: Volume) -> None:
    extent_mm = [count * spacing for count, spacing in zip(volume.grid.shape, volume.grid.spacing, strict=True)]
    if role.maximum_extent_mm is not None and max(extent_mm) > role.maximum_extent_mm:
        raise InputError(
            f"the volume is {' x '.join(f'{mm:.0f}' for mm in extent_mm)} mm (slices, rows, columns), "
            f"and {model} takes at most {role.maximum_extent_mm:g} mm along each",
            reason="extent",
            remedy="send the series cropped around what the model is for, or have the rule choose another one",
        )


def _check_labels(contract: ModelContract, labels: npt.NDArray[np.uint8]) -> None:
    known = {0, *(segment.number for segment in contract.segments)}
    unknown = [int(value) for value in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)) if value not in known]
    if unknown:
        raise ModelOutputError(
            f"{contract.name} returned label(s) {', '.join(map(str, unknown[:5]))} that model.toml does not name",
            remedy="describe each label it can return under [[segments]]",
        )


def _machine_mb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def _ignore(step: str) -> None:
    """Progress that nobody follows."""


def _never() -> bool:
    return False
