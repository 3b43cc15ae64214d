"""What a process may not do: reach a network, write outside its scratch folder, dump core, outgrow its memory.

Two kinds of process close these doors before they open what came from outside: a bundle's host, since loading a
bundle's configuration runs code (MONAI evaluates ``$`` expressions), and a reader of genomes, since htslib is C that
parses files of strangers. Linux has all doors; macOS the limits only. :func:`level` tells what this machine has.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20

# Options of prctl.
_PR_SET_PDEATHSIG = 1
_PR_GET_SECCOMP = 21
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

# seccomp(2): offsets in struct seccomp_data; only the low half of the first argument counts for socket(2).
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_DOMAIN = 0, 4, 16
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32_BIT = 0x40000000

# landlock(7), rights that write, by the version of the interface that brought them.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_WRITES_V1 = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))  # remove and make directories, files, sockets, links
_REFER = 1 << 13
_ON_FILES = _WRITE_FILE | _TRUNCATE
_DEVICES = ("/dev/null", "/dev/zero", "/dev/shm", "/proc/self")  # noqa: S108
_GPU_DEVICES = ("nvidia*", "dri")


@dataclass(frozen=True, slots=True)
class _Architecture:
    """Numbers of the system calls that are refused."""

    audit: int  # AUDIT_ARCH_…
    socket: int
    others: tuple[int, ...]  # ptrace, process_vm_readv, process_vm_writev, io_uring_setup, pidfd_getfd


_ARCHITECTURES = {
    "x86_64": _Architecture(0xC000003E, 41, (101, 310, 311, 425, 438)),
    "aarch64": _Architecture(0xC00000B7, 198, (117, 270, 271, 425, 438)),
}


@dataclass(frozen=True, slots=True)
class Level:
    """Which doors are closed, or can be."""

    network: bool  # seccomp: no socket but unix
    files: bool  # Landlock: no writing outside the scratch folder
    memory: bool  # the kernel enforces the memory limit; otherwise only measured
    missing: tuple[str, ...]  # why the others are not

    def __str__(self) -> str:
        closed = {"no network": self.network, "writes confined": self.files, "memory limited": self.memory}
        return ", ".join(name for name, is_closed in closed.items() if is_closed) or "no sandbox"


def level() -> Level:
    """What this machine can do; changes nothing."""
    missing = []
    network, files = _can_filter(), _landlock_version() > 0
    if not network:
        missing.append(f"no seccomp filter on {sys.platform} {platform.machine()}: a bundle can reach the network")
    if not files:
        missing.append("no Landlock in this kernel: a bundle can write wherever the worker can")
    if sys.platform != "linux":
        missing.append(f"{sys.platform} does not enforce memory limits: memory is measured and the host ended")
    return Level(network, files, sys.platform == "linux", tuple(missing))


def enter(*, memory_mb: int | None, scratch: Path, gpu: bool) -> Level:
    """Close every door this machine has, for this process and its children, for good.

    Call it in the main thread before any other thread runs. ``memory_mb`` limits private memory (None: unlimited, as
    a GPU's driver reserves address space beyond measure); ``scratch`` is the only folder left to write to.

    Raises:
        OSError: a door that :func:`level` names does not close.
    """
    reached = level()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mb is not None and reached.memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * _MIB, memory_mb * _MIB))
    if sys.platform == "linux":
        # Short of memory, the kernel shall end a host before the worker or the node.
        Path("/proc/self/oom_score_adj").write_text("700", encoding="ascii")
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if reached.files:
        _confine_writes(scratch, gpu=gpu)
    if reached.network:
        _filter_system_calls()
    return reached


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux); ``parent`` is its process id."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, *arguments: int | ctypes.Array[ctypes.c_char]) -> int:
    longs = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    longs += [ctypes.c_ulong(0)] * (4 - len(longs))
    return _checked(_libc().prctl(option, *longs), f"prctl {option}")


def _can_filter() -> bool:
    if sys.platform != "linux" or platform.machine() not in _ARCHITECTURES:
        return False
    try:
        return _prctl(_PR_GET_SECCOMP) in (0, _SECCOMP_MODE_FILTER)
    except OSError:
        return False


def program(architecture: str) -> bytes:
    """The seccomp filter of an architecture, as BPF instructions (struct sock_filter, 8 bytes each).

    Refused with EPERM: sockets of any family but AF_UNIX, ways around that (io_uring) and into other processes
    (ptrace, process_vm_*, pidfd_getfd). Calls of another architecture's interface end the process.
    """
    here = _ARCHITECTURES[architecture]
    refuse = _ERRNO | errno.EPERM
    others = len(here.others)
    instructions = [
        (_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, here.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_IF_AT_LEAST, others + 3, 0, _X32_BIT),  # to: refuse
        *[(_JUMP_IF_EQUAL, others + 2 - index, 0, number) for index, number in enumerate(here.others)],  # to: refuse
        (_JUMP_IF_EQUAL, 0, 3, here.socket),  # else: allow
        (_LOAD, 0, 0, _OFFSET_DOMAIN),
        (_JUMP_IF_EQUAL, 1, 0, 1),  # AF_UNIX: allow
        (_RETURN, 0, 0, refuse),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _filter_system_calls() -> None:
    code = program(platform.machine())
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header, len(header)))


def _landlock_version() -> int:
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))))


def _confine_writes(scratch: Path, *, gpu: bool) -> None:
    version = _landlock_version()
    rights = _WRITES_V1 | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attribute = struct.pack("=Q", rights)
    libc = _libc()
    ruleset = _checked(
        libc.syscall(_LANDLOCK_CREATE, attribute, ctypes.c_size_t(len(attribute)), ctypes.c_uint(0)), "Landlock"
    )
    try:
        for path in _writable(scratch, gpu=gpu):
            _allow_writes(libc, ruleset, path, rights)
        _checked(libc.syscall(_LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint(0)), "Landlock")
    finally:
        os.close(ruleset)


def _writable(scratch: Path, *, gpu: bool) -> Sequence[Path]:
    devices = [path for pattern in _GPU_DEVICES for path in Path("/dev").glob(pattern)] if gpu else []
    return [path for path in (scratch, *map(Path, _DEVICES), *devices) if path.exists()]


def _allow_writes(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = rights if path.is_dir() else rights & _ON_FILES
        rule = struct.pack("=Qi", allowed, descriptor)
        _checked(libc.syscall(_LANDLOCK_ADD, ctypes.c_int(ruleset), 1, rule, ctypes.c_uint(0)), f"Landlock {path}")
    finally:
        os.close(descriptor)
