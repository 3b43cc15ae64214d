"""MLLP: frames however they are cut, answers in order, and limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from dicom_node.exchange.mllp import END, START, Limits, Listener, frame

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


def talked(talk: Talk, **limits: Any) -> Any:
    async def echo(data: bytes) -> bytes:
        return b"got " + data

    async def run() -> Any:
        told = Limits(**{"maximum_bytes": 1000, "maximum_connections": 2, "idle_s": 5.0, **limits})
        listener = Listener(echo, lambda why: b"refused: " + why.encode(), told)
        port = await listener.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await asyncio.wait_for(talk(reader, writer), 10)
        finally:
            writer.close()
            await listener.close()

    return asyncio.run(run())


async def answer(reader: asyncio.StreamReader) -> bytes:
    return (await reader.readuntil(END)).removeprefix(START).removesuffix(END)


def test_messages_are_answered_in_order_however_they_are_cut() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[bytes]:
        for byte in frame(b"one"):
            writer.write(bytes([byte]))
            await writer.drain()
        writer.write(frame(b"two") + b"\r\n" + frame(b"three"))
        return [await answer(reader) for _ in range(3)]

    assert talked(talk) == [b"got one", b"got two", b"got three"]


def test_what_is_not_framed_is_answered_and_ends_the_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, bytes]:
        writer.write(b"GET / HTTP/1.1\r\n")
        return await answer(reader), await reader.read()

    assert talked(talk) == (b"refused: not framed by MLLP", b"")


def test_a_message_has_a_largest_size() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, bytes]:
        writer.write(START + b"x" * 2000)
        return await answer(reader), await reader.read()

    assert talked(talk) == (b"refused: larger than 1000 bytes", b"")


def test_silence_ends_a_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        return await reader.read()

    assert talked(talk, idle_s=0.2) == b""


def test_who_may_not_call_is_turned_away() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        return await reader.read()

    assert talked(talk, addresses=("10.0.0.0/8",)) == b""
    assert talked(talk, maximum_connections=0) == b""
