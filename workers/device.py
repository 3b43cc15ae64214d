"""Which device a host computes on, decided without importing torch."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dicom_node.errors import ConfigurationError

# Everything else of the worker's environment (database passwords among it) stays away from a bundle.
_PASSED_ON = ("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "PYTORCH_", "OMP_", "MKL_", "KMP_")
_GPU_NODES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, NVIDIA under WSL, AMD


def settled(device: str) -> str:
    """The device as it is passed to hosts: ``auto`` becomes ``cpu`` where no GPU's driver is loaded.

    Raises:
        ConfigurationError: it is not ``auto``, ``cpu``, ``cuda`` or ``cuda:<index>``.
    """
    kind, _, index = device.partition(":")
    if device == "auto":
        return "auto" if any(Path(node).exists() for node in _GPU_NODES) else "cpu"
    if device in ("cpu", "cuda") or (kind == "cuda" and index.isascii() and index.isdigit()):
        return device
    raise ConfigurationError(f"there is no device {device!r}", remedy="choose auto, cpu, cuda or cuda:0, cuda:1 …")


def words(device: str) -> str:
    """What computes here: kind, and name and threads of the processor or name of the card."""
    if settled(device) == "cpu":
        return f"cpu ({_processor()}, {threads()} threads)"
    return f"gpu ({_asked_of_driver(device, 'name') or device})"


def gpu_memory_mb(device: str) -> int | None:
    """Memory of the GPU that hosts see, as NVIDIA's driver tells it; None where it does not."""
    told = _asked_of_driver(device, "memory.total")
    return int(told) if told.isdigit() else None


def _asked_of_driver(device: str, what: str) -> str:
    """What NVIDIA's driver tells of the GPU that hosts see; empty where it does not."""
    already = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = _visible(device, already) or "0"
    query = (
        "nvidia-smi",
        f"--id={chosen.partition(',')[0]}",
        f"--query-gpu={what}",
        "--format=csv,noheader,nounits",
    )
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def environment(device: str, scratch: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of a host: little of the worker's, caches in ``scratch``, and only its own GPU to be seen.

    Bundles name ``cuda:0`` in their configurations; with one visible GPU that is always the right one.
    """
    chosen = {
        name: value for name, value in inherited.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    chosen |= {
        "HOME": scratch,
        "XDG_CACHE_HOME": scratch,
        "TORCH_HOME": scratch,
        "MPLCONFIGDIR": scratch,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads()),
    }
    visible = _visible(device, inherited.get("CUDA_VISIBLE_DEVICES"))
    if visible is not None:
        chosen["CUDA_VISIBLE_DEVICES"] = visible
    return chosen


def _visible(device: str, already: str | None) -> str | None:
    if device == "cpu":
        return ""
    if device == "auto":
        return already
    index = int(device.partition(":")[2] or 0)
    if already is None:
        return str(index)
    listed = [name for name in already.split(",") if name]
    if index >= len(listed):
        raise ConfigurationError(
            f"there is no {device}: CUDA_VISIBLE_DEVICES is {already!r}", remedy="choose another device in [worker]"
        )
    return listed[index]


def _processor() -> str:
    """The processor's name, as Linux tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8", errors="replace").splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def threads() -> int:
    """CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
