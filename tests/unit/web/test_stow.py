"""STOW-RS over a real server, as clients speak it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import web_archive

from dicom_node.web import stow

RELATED = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=B'}


@pytest.fixture
def archive(tmp_path: Path, archive_factory: Any) -> Iterator[Any]:
    """On SQLite alone: no database takes part in this."""
    made = archive_factory(tmp_path)
    yield made
    made.database.close()


@contextmanager
def served(archive: Any, **node: Any) -> Iterator[str]:
    """Where studies are stored."""
    with web_archive.served(archive.database, archive.data_dir, **node) as address:
        yield f"{address}/dicom-web/studies"


def parts(*files: bytes) -> Iterator[bytes]:
    for file in files:
        yield b"\r\n--B\r\nContent-Type: application/dicom\r\n\r\n"
        for start in range(0, len(file), 50_000):
            yield file[start : start + 50_000]
    yield b"\r\n--B--\r\n"


def kept(archive: Any) -> list[Path]:
    return sorted(archive.data_dir.glob("objects/stow/*/*.dcm"))


def test_a_study_is_stored_over_http_with_and_without_a_length(archive: Any) -> None:
    files = [archive.part10(archive.image(number, PixelData=bytes(400_000))) for number in (1, 2)]
    with served(archive) as address:
        chunked = httpx.post(address, content=parts(*files), headers=RELATED)
        whole = httpx.post(f"{address}/1.2.3.1", content=b"".join(parts(*files)), headers=RELATED)
    for answer in (chunked, whole):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/dicom+json"
        stored = answer.json()["00081199"]["Value"]
        assert [item["00081155"]["Value"] for item in stored] == [["1.2.3.1.1.1"], ["1.2.3.1.1.2"]]
    assert [path.read_bytes()[-400_000:] for path in kept(archive)] == [bytes(400_000)] * 4


def test_statuses_of_the_standard_reach_the_client(archive: Any) -> None:
    file = archive.part10(archive.image(1))
    with served(archive) as address:
        post = httpx.post
        assert post(f"{address}/1.2.3.2", content=parts(file), headers=RELATED).status_code == 409
        assert post(address, content=parts(file, b"x"), headers=RELATED).status_code == 202
        assert post(address, content=b"x", headers=RELATED).status_code == 400
        assert post(address, content=b"x").status_code == 415
        assert post(address, content=parts(file), headers={**RELATED, "Accept": "text/html"}).status_code == 406
        assert post(address, content=parts(file), headers={**RELATED, "Host": "evil.example"}).status_code == 421
    assert len(kept(archive)) == 1


def test_no_room_is_told_with_when_to_come_again(archive: Any) -> None:
    with served(archive, least_free_bytes=1 << 60) as address:
        answer = httpx.post(address, content=parts(b""), headers=RELATED)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, str(stow.RETRY_AFTER_S))


def test_a_silent_sender_does_not_hold_a_place(archive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stow, "SILENT_S", 0.2)
    with served(archive) as address:
        host, port = httpx.URL(address).host, httpx.URL(address).port
        with socket.create_connection((host, port), timeout=30) as silent:
            head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: {RELATED['Content-Type']}"
            silent.sendall(head.encode() + b"\r\nContent-Length: 1000\r\n\r\n--B\r\n\r\n")
            answer = silent.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")
    assert list(archive.data_dir.glob("objects/stow/*/*.part")) == []


def test_more_uploads_than_places_wait_their_turn(archive: Any) -> None:
    file = archive.part10(archive.image(1))

    async def all_at_once(address: str) -> list[int]:
        found: list[int] = []

        async def one() -> None:
            found.append((await client.post(address, content=b"".join(parts(file)), headers=RELATED)).status_code)

        async with httpx.AsyncClient(timeout=60) as client, anyio.create_task_group() as tasks:
            for _ in range(3 * stow.MOST_UPLOADS):
                tasks.start_soon(one)
        return found

    with served(archive) as address:
        assert anyio.run(all_at_once, address) == [200] * 3 * stow.MOST_UPLOADS
    assert len(kept(archive)) == 3 * stow.MOST_UPLOADS
