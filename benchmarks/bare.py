"""A receiver that is none: bytes from a socket become a durable file, and one byte is the answer. No DICOM, no index.

What it takes is what Python and the system calls take on this machine; a durable receiver in Python cannot be faster.
It reads, writes, renames, flushes and answers as our acceptor does, in a thread for each connection.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from peers import free_port, wait_until

from benchmarks.receivers import BARE, Receiver, start
from dicom_node.archive.writeback import start_writing

_BUFFER = 1 << 19  # bytes, as the acceptor's
_LENGTH = struct.Struct(">Q")


def receiver(folder: Path) -> Receiver:
    """It, in a process of its own."""
    folder.mkdir()
    port = free_port()
    process = start([sys.executable, "-m", "benchmarks.bare", str(folder), str(port)], folder)
    wait_until(lambda: _listens(port), "the bare receiver to listen")
    return Receiver(BARE, port, (process,))


def send(source: Path, port: int, associations: int = 1) -> float:
    """Seconds to send the files of a folder, and to have an answer to each before the next one."""
    files = sorted(source.iterdir())
    shares = [[file.read_bytes() for file in files[number::associations]] for number in range(associations)]
    threads = [threading.Thread(target=_send, args=(share, port)) for share in shares]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _send(contents: Sequence[bytes], port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for content in contents:
            connection.sendall(_LENGTH.pack(len(content)) + content)
            if connection.recv(1) != b"\1":
                raise RuntimeError("the bare receiver did not answer")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _serve(folder: Path, port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port))
    number = 0
    while True:
        connection, _ = listener.accept()
        number += 1
        below = folder / str(number)
        below.mkdir()
        threading.Thread(target=_receive, args=(connection, f"{below}/"), daemon=True).start()


def _receive(connection: socket.socket, folder: str) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    view, number = memoryview(bytearray(_BUFFER)), 0
    while count := connection.recv_into(view):
        (left,) = _LENGTH.unpack_from(view)
        part, path = f"{folder}{number}.part", f"{folder}{number}.dcm"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        content, written = view[_LENGTH.size : count], 0
        while True:
            os.write(descriptor, content)
            start_writing(descriptor, written, len(content))
            written, left = written + len(content), left - len(content)
            if not left:
                break
            content = view[: connection.recv_into(view)]
        os.rename(part, path)  # noqa: PTH104  as the acceptor does
        os.fsync(descriptor)
        os.close(descriptor)
        connection.sendall(b"\1")
        number += 1


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
