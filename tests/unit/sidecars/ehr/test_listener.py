"""The listener: a socket of our own, over TCP and TLS, whose answers mean what they say."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from fuzz.mutation import mutate
from hl7_messages import AUTHORITY, header, message, pid

from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.migrate import migrate
from dicom_node.errors import ConfigurationError
from dicom_node.exchange.hl7v2 import parse
from dicom_node.exchange.mllp import END, START, frame
from dicom_node.settings import Settings, load
from dicom_node.sidecars.ehr.listener import run, serve

TEXT = f'[node]\ndata_dir = "data"\n[[ehr.identifiers]]\nsystem = "{AUTHORITY}"\nissuer = "HOSP"\n'


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(folder: Path, more: str = "") -> Settings:
    file = folder / "dicom-node.toml"
    file.write_text(f"{TEXT}[ehr.hl7]\nport = {free()}\n{more}")
    return load(file, {}).settings


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[Settings, Database]]:
    told = settings(tmp_path)
    database = Database("sqlite", told.node.data_dir)
    migrate(database)
    with running(told, database):
        yield told, database
    database.close()


class running:
    """The listener in a thread."""

    def __init__(self, told: Settings, database: Database) -> None:
        self._stop, started = threading.Event(), threading.Event()
        work = serve(told, database, self._stop, started)
        self._thread = threading.Thread(target=lambda: asyncio.run(work))
        self._thread.start()
        assert started.wait(20)

    def __enter__(self) -> None:
        """Nothing more."""

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)


def ask(connection: socket.socket, data: bytes) -> str:
    connection.sendall(frame(data))
    found = b""
    while not found.endswith(END):
        if not (block := connection.recv(65536)):
            raise ConnectionError("no answer")
        found += block
    return parse(found.removeprefix(START).removesuffix(END)).first("MSA").field(1)


def test_aa_means_that_it_is_in_the_ledger(listening: tuple[Settings, Database]) -> None:
    told, database = listening
    with socket.create_connection(("127.0.0.1", told.ehr.hl7.port), 10) as connection:
        assert ask(connection, message(header("ADT^A04"), pid("P7"))) == "AA"
        features = Features(database)
        identity = features.identity("HOSP", "P7")
        assert len(features.records(identity)) == 1
        assert len(features.documents(identity)) == 1
        assert ask(connection, b"garbage") == "AE"
        assert ask(connection, message(header("ADT^A04", "2"), pid("P8"))) == "AA"


def test_broken_messages_are_answered_each_and_the_next_one_is_taken(
    listening: tuple[Settings, Database], test_data: Path
) -> None:
    told, _ = listening
    chance = random.Random(7)
    whole = [file.read_bytes() for file in sorted((test_data / "ehr" / "hl7v2").glob("*.hl7"))]
    place = ("127.0.0.1", told.ehr.hl7.port)
    answers = dict.fromkeys(("AA", "AE", "AR"), 0)
    for _ in range(20):
        with socket.create_connection(place, 10) as connection:
            for _ in range(15):
                # The end of a frame within a message is a framing fault, which is another test.
                answers[ask(connection, mutate(chance, whole).replace(END, b""))] += 1
    assert sum(answers.values()) == 300
    assert answers["AE"] and answers["AR"]
    with socket.create_connection(place, 10) as connection:
        assert ask(connection, message(header("ADT^A04", "after"), pid("P9"))) == "AA"


def test_over_tls_senders_show_a_certificate(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    ours, theirs = authority.sign("node"), authority.sign("adt")
    tls = f'tls = true\n[tls]\ncertificate = "{ours.file}"\nkey = "{ours.key}"\nca = "{authority.own.file}"\n'
    told = settings(tmp_path, tls)
    database = Database("sqlite", told.node.data_dir)
    migrate(database)
    context = ssl.create_default_context(cafile=str(authority.own.file))
    context.check_hostname = False
    place = ("127.0.0.1", told.ehr.hl7.port)
    with running(told, database):
        with pytest.raises(OSError), socket.create_connection(place, 10) as bare:
            wrapped = context.wrap_socket(bare)
            ask(wrapped, message(header("ADT^A04"), pid()))
        context.load_cert_chain(theirs.file, theirs.key)
        with socket.create_connection(place, 10) as bare, context.wrap_socket(bare) as wrapped:
            assert ask(wrapped, message(header("ADT^A04"), pid())) == "AA"
    database.close()


def test_what_cannot_be_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tls\.certificate"):
        run(settings(tmp_path, "tls = true\n"), threading.Event())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = settings(tmp_path)
        busy = told.ehr.hl7.model_copy(update={"port": taken.getsockname()[1]})
        told = told.model_copy(update={"ehr": told.ehr.model_copy(update={"hl7": busy})})
        with pytest.raises(ConfigurationError, match="cannot be opened"):
            run(told, threading.Event())
