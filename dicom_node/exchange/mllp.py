"""MLLP, the framing of HL7 version 2 on a connection (HL7 Implementation Support: <VT> message <FS><CR>).

The listener answers each message with whatever its handler returns, one after the other on a connection. What is not
framed, or larger than it may be, is answered by the handler too and ends the connection, since nobody knows where the
next message begins.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

log = logging.getLogger(__name__)

START, END = b"\x0b", b"\x1c\r"
Handler = Callable[[bytes], Awaitable[bytes]]
_BLOCK = 65536
_ANSWER_S = 30.0  # for a peer to take an answer


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may do."""

    maximum_bytes: int
    maximum_connections: int
    idle_s: float
    addresses: tuple[str, ...] = ()  # networks it may call from; empty: anywhere


class Listener:
    """Takes connections until it is closed."""

    def __init__(self, handler: Handler, refuse: Callable[[str], bytes], limits: Limits) -> None:
        """``handler``: message -> answer. ``refuse``: why nothing can be read -> answer."""
        self._handler = handler
        self._refuse = refuse
        self._limits = limits
        self._open = 0
        self._server: asyncio.Server | None = None
        self._networks = [ipaddress.ip_network(each, strict=False) for each in limits.addresses]

    async def start(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port, which is chosen where 0 is given.

        Raises:
            OSError: the port is taken, or may not be opened.
        """
        self._server = await asyncio.start_server(self._serve, host, port, ssl=context)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._may_call(writer.get_extra_info("peername")):
            writer.close()
            return
        self._open += 1
        try:
            await self._answer_all(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            log.info("a sender of HL7 is gone: %s", type(error).__name__)
        finally:
            self._open -= 1
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = bytearray()
        while True:
            message, fault = _framed(buffer, self._limits.maximum_bytes)
            if fault:
                await _send(writer, self._refuse(fault))
                return
            if message is not None:
                await _send(writer, await self._handler(message))
                continue
            block = await asyncio.wait_for(reader.read(_BLOCK), self._limits.idle_s)
            if not block:
                return
            buffer += block

    def _may_call(self, peer: Sequence[object] | None) -> bool:
        if self._open >= self._limits.maximum_connections:
            log.warning("a sender of HL7 is turned away: %d connections are open", self._open)
            return False
        if not self._networks:
            return True
        address = ipaddress.ip_address(str(peer[0]) if peer else "0.0.0.0")  # noqa: S104  nobody's
        if any(address in network for network in self._networks):
            return True
        log.warning("a sender of HL7 is turned away: its address is not in ehr.hl7.addresses")
        return False


def frame(message: bytes) -> bytes:
    """A message as it goes over the wire."""
    return START + message + END


def _framed(buffer: bytearray, maximum_bytes: int) -> tuple[bytes | None, str]:
    """Take the first whole message off the buffer; None: it is not whole yet. Or what is wrong with it."""
    while buffer and buffer[0] in b"\r\n":  # between messages, some send one
        del buffer[:1]
    if not buffer:
        return None, ""
    if buffer[:1] != START:
        return None, "not framed by MLLP"
    end = buffer.find(END)
    if end < 0:
        return None, f"larger than {maximum_bytes} bytes" if len(buffer) > maximum_bytes else ""
    message = bytes(buffer[1:end])
    if len(message) > maximum_bytes:
        return None, f"larger than {maximum_bytes} bytes"
    del buffer[: end + len(END)]
    return message, ""


async def _send(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(frame(answer))
    await asyncio.wait_for(writer.drain(), _ANSWER_S)
