"""Whether flushing a file takes its new name along: then one flush makes an object durable, where POSIX needs two.

ext4 and XFS write a rename out with the file that was renamed: by their journal, in order, or, of an ext4 without one,
by writing the folder of a file whose name is new. Nothing is assumed of any other file system.
"""

from __future__ import annotations

import os
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_KINDS = frozenset(("ext4", "xfs"))


def names_follow_files(folder: Path) -> bool:
    """Whether an fsync of a renamed file in ``folder`` makes its name durable too."""
    return _kind(folder.stat().st_dev) in _KINDS


def _kind(device: int) -> str:
    """The kind of the file system of a device; empty where the system does not tell."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:  # proc(5): "36 35 98:0 / /data rw,noatime - ext4 /dev/sda1 rw"
        mount, _, system = line.partition(" - ")
        if mount.split(" ")[2:3] == [wanted]:
            return system.split(" ")[0]
    return ""
