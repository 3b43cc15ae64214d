"""Real files in an archive of our own, served over HTTP, for tests of DICOMweb and of the pages."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from peers import free_port, wait_until

from dicom_node.archive.database import Database
from dicom_node.archive.elements import mapped_data_set
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.header import read_header
from dicom_node.archive.index import Arrival, Index
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.receipt import Receipt, file_meta
from dicom_node.settings import NodeSettings, Settings, WebSettings
from dicom_node.web.app import serve_web


def as_received(file: Path) -> bytes:
    """A Part 10 file as the acceptor would write it: the same data set behind meta information of our own."""
    with mapped_data_set(file) as found:
        receipt = Receipt("MODALITY", "DICOMNODE", "10.0.0.7", "a-1", datetime(2026, 3, 1, tzinfo=UTC))
        names = (found.meta.get(number, b"").strip(b"\0 ") for number in (0x0002, 0x0003))
        sop_class, sop_uid = names
        return file_meta(sop_class, sop_uid, found.syntax, receipt) + file.read_bytes()[len(found.head) :]


def take_in(database: Database, data_dir: Path, files: Iterable[Path]) -> None:
    """Store files and put them into the index."""
    writer, store = ObjectStore(data_dir).writer("web"), ObjectStore(data_dir)
    arrivals = []
    for file in files:
        reservation = writer.reserve()
        reservation.write([as_received(file)])
        path = reservation.commit()
        arrivals.append(Arrival(store.relative(path), read_header(path)))
    index = Index(database, data_dir)
    index.add(arrivals)
    while index.settle():
        pass


@contextmanager
def served(database: Database, data_dir: Path, web: Mapping[str, Any] | None = None, **node: Any) -> Iterator[str]:
    """Serve pages and DICOMweb over a ledger, with further settings of ``[web]`` and ``[node]``; the address."""
    port = free_port()
    settings = Settings(
        node=NodeSettings(data_dir=data_dir, time_zone="UTC", **node), web=WebSettings(port=port, **(web or {}))
    )
    stop = threading.Event()
    arguments = (settings, database, Ledger(database), Parcels(database), dict, stop)
    thread = threading.Thread(target=serve_web, args=arguments)
    thread.start()
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{address}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, "the server")
        yield address
    finally:
        stop.set()
        thread.join()
