"""How a worker and a bundle's host process talk: JSON over a socket pair, arrays through shared memory.

A message is four bytes of length (big-endian), then a JSON object. File descriptors of shared memory travel with the
length. That memory is a file without a name, so nothing of a patient is left behind whoever dies.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

MAXIMUM_MESSAGE_BYTES = 1 << 20
MAXIMUM_DESCRIPTORS = 32
_LENGTH = struct.Struct(">I")
_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108  a memory file system on Linux; elsewhere the temporary folder


class WireError(Exception):
    """What arrived is not a message; the other side is not to be trusted any more."""


def send(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message, with file descriptors.

    Raises:
        OSError: the other side is gone.
    """
    payload = json.dumps(message).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(payload))], list(descriptors))
    connection.sendall(payload)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its file descriptors, which the caller now owns; None when the other side has closed.

    Raises:
        WireError: the bytes are no message.
        OSError: the connection broke.
    """
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, MAXIMUM_DESCRIPTORS)
    if not head:
        return None
    try:
        head += _exactly(connection, _LENGTH.size - len(head))
        (length,) = _LENGTH.unpack(head)
        if length > MAXIMUM_MESSAGE_BYTES:
            raise WireError(f"a message of {length} bytes")
        message = json.loads(_exactly(connection, length))
        if not isinstance(message, dict):
            raise WireError("a message that is no object")
    except (WireError, ValueError) as error:
        for descriptor in descriptors:
            os.close(descriptor)
        raise WireError(str(error)) from error
    return message, descriptors


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise WireError("the connection closed within a message")
        parts += part
    return bytes(parts)


def shared_file(size: int) -> IO[bytes]:
    """A file without a name for ``size`` bytes: in memory where it fits, else in the temporary folder."""
    in_memory = _MEMORY_FOLDER.is_dir() and shutil.disk_usage(_MEMORY_FOLDER).free > 2 * size
    return tempfile.TemporaryFile(dir=_MEMORY_FOLDER if in_memory else None)


def share(array: npt.NDArray[Any]) -> IO[bytes]:
    """A shared file that holds the array as float32, C order; it is copied slice by slice."""
    file = shared_file(4 * array.size)
    for part in array:
        np.ascontiguousarray(part, dtype=np.float32).tofile(file)
    file.flush()
    return file


def mapped(descriptor: int, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The array in a shared file, without a copy; what is written to it stays here. Closes ``descriptor``."""
    with os.fdopen(descriptor, "rb") as file:
        return np.memmap(file, dtype=dtype, mode="c", shape=shape)
