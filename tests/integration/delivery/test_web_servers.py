"""DICOMweb servers that misbehave, want to know who we are, or speak TLS; and our own door."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Certificate
from deliveries import Bench, bench_in
from peers import free_port, wait_until

from dicom_node.archive.database import Database
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.cli.peers import answer
from dicom_node.domain.parcel import ParcelState
from dicom_node.settings import NodeSettings, PeerSettings, Settings, TlsSettings, WebSettings
from dicom_node.web.app import serve_web

SECRET = "s3cr3t-of-the-tests"


def uids_of(body: bytes) -> list[str]:
    """SOP Instance UIDs of a multipart body, by their file meta information."""
    found = body.split(b"\x02\x00\x03\x00UI")[1:]
    return [part[2 : 2 + int.from_bytes(part[:2], "little")].strip(b"\0").decode() for part in found]


def told(stored: list[str], failed: dict[str, int] | None = None) -> bytes:
    """A response of STOW-RS."""
    sequences: dict[str, Any] = {
        "00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in stored]},
        "00081198": {
            "vr": "SQ",
            "Value": [
                {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}}
                for uid, reason in (failed or {}).items()
            ],
        },
    }
    return json.dumps({tag: sequence for tag, sequence in sequences.items() if sequence["Value"]}).encode()


Reply = tuple[int, dict[str, str], bytes]


@dataclass
class ScriptedServer:
    """Stores, searches what it has, and gives tokens; ``store`` answers requests to store."""

    store: Callable[[ScriptedServer, list[str]], Reply] | None = None
    read_body: bool = True
    searches: bool = True
    wants: str = ""  # the Authorization that it takes; a token is taken until it is revoked
    token_status: int = 200
    token_life_s: int = 3600
    port: int = field(default_factory=free_port)
    certificate: Certificate | None = None
    held: list[str] = field(default_factory=list)
    requests: list[list[str]] = field(default_factory=list)  # objects of each that got so far
    tokens: list[str] = field(default_factory=list)
    token_requests: list[tuple[str, bytes]] = field(default_factory=list)  # authorization and body

    @property
    def url(self) -> str:
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}/dicom-web"

    @contextmanager
    def running(self) -> Iterator[ScriptedServer]:
        script = self

        class Handler(_Handler):
            server_script = script

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = True
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate.file, self.certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_script: ScriptedServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        script = self.server_script
        if self.path == "/token":
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.token_requests.append((self.headers.get("Authorization", ""), body))
            script.tokens.append(f"token-{len(script.tokens)}")
            grant = {"access_token": script.tokens[-1], "token_type": "Bearer", "expires_in": script.token_life_s}
            refusal = {"error": "invalid_client", "error_description": "no"}
            self._reply(script.token_status, {}, json.dumps(grant if script.token_status == 200 else refusal).encode())
            return
        if not script.read_body:
            time.sleep(30)  # the client gives up long before
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._authorized():
            self._reply(401, {"WWW-Authenticate": "Bearer"}, b"")
            return
        sent = uids_of(body)
        script.requests.append(sent)
        if script.store is None:
            script.held += sent
            self._reply(200, {}, told(sent))
        else:
            self._reply(*script.store(script, sent))

    def do_GET(self) -> None:
        script = self.server_script
        if not self._authorized():
            self._reply(401, {}, b"")
        elif not script.searches:
            self._reply(404, {}, b"")
        elif "/series/" in self.path:
            start = int(self.path.rpartition("offset=")[2]) if "offset=" in self.path else 0
            page = script.held[start : start + 2]  # it gives two at a time
            found = [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in page]
            self._reply(200 if found else 204, {}, json.dumps(found).encode() if found else b"")
        else:
            self._reply(204, {}, b"")

    def _authorized(self) -> bool:
        script = self.server_script
        given = self.headers.get("Authorization", "")
        if script.wants == "token":
            return bool(script.tokens) and given == f"Bearer {script.tokens[-1]}"
        return given == script.wants

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        if status == 0:  # a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
            self.close_connection = True
            return
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/dicom+json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer().running() as made:
        yield made


def bench_of(database: Database, folder: Path, server: ScriptedServer, **entry: Any) -> Bench:
    return bench_in(database, folder, peers=[PeerSettings(name="pacs", kind="dicomweb", url=server.url, **entry)])


def test_objects_go_in_few_requests_and_are_found_page_by_page(
    database: Database, tmp_path: Path, server: ScriptedServer
) -> None:
    bench = bench_of(database, tmp_path, server)
    numbers = [bench.add(objects=3), bench.add(objects=60)]
    bench.run()
    assert [len(sent) for sent in server.requests] == [50, 13]
    for number in numbers:
        assert (bench.parcel(number).state, bench.parcel(number).verification) == (
            ParcelState.PRESENT,
            "found by QIDO-RS",
        )


@pytest.mark.parametrize("status", [202, 409])
def test_what_it_has_stored_is_kept_and_what_it_has_refused_is_told_by_reason(
    database: Database, tmp_path: Path, server: ScriptedServer, status: int
) -> None:
    def partly(script: ScriptedServer, sent: list[str]) -> Reply:
        fine = [uid for uid in sent if not uid.endswith(".1")]
        script.held += fine
        return status, {}, told(fine, {uid: 0xA900 for uid in sent if uid not in fine})

    server.store = partly
    bench = bench_of(database, tmp_path, server)
    number = bench.add(objects=3)
    uids = [made.sop_uid for made in bench.parcel(number).artifacts]
    bench.run(3)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.error["reason"]) == (ParcelState.REFUSED, "object-refused")
    assert "0xA900 data set does not match SOP class (1 of 3 objects are not there)" in parcel.error["message"]
    assert parcel.taken == {uids[0], uids[2]}
    assert server.requests == [uids, [uids[1]], [uids[1]]]


def test_a_request_that_is_too_large_is_cut_until_one_object_alone_is(
    database: Database, tmp_path: Path, server: ScriptedServer
) -> None:
    def narrow(script: ScriptedServer, sent: list[str]) -> Reply:
        if len(sent) > 1 or sent[0].endswith(".3"):
            return 413, {}, b""
        script.held += sent
        return 200, {}, told(sent)

    server.store = narrow
    bench = bench_of(database, tmp_path, server)
    number = bench.add(objects=4)
    bench.run(3)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.error["reason"]) == (ParcelState.REFUSED, "object-refused")
    assert "HTTP 413" in parcel.error["message"]
    assert len(parcel.taken) == 3


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((403, {}, b""), "not-authorized"),
        ((404, {}, b""), "wrong-url"),
        ((302, {"Location": "https://elsewhere.example"}, b""), "redirected"),
        ((500, {}, b""), "peer-failure"),
        ((507, {}, b""), "out-of-resources"),
        ((0, {}, b""), "lost"),
    ],
)
def test_what_is_no_judgement_of_the_objects_is_tried_for_ever(
    database: Database, tmp_path: Path, server: ScriptedServer, reply: Reply, reason: str
) -> None:
    server.store = lambda script, sent: reply
    bench = bench_of(database, tmp_path, server)
    number = bench.add()
    bench.run(5)
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.tries, parcel.error["reason"]) == (ParcelState.DUE, 5, reason)
    assert parcel.error["remedy"]
    server.store = None
    bench.run()
    assert bench.parcel(number).state == ParcelState.PRESENT


def test_it_is_not_tried_again_before_it_says_so(database: Database, tmp_path: Path, server: ScriptedServer) -> None:
    server.store = lambda script, sent: (503, {"Retry-After": "7200"}, b"")
    bench = bench_of(database, tmp_path, server)
    number = bench.add()
    bench.run()
    parcel = bench.parcel(number)
    assert parcel.error["reason"] == "out-of-resources"
    assert (parcel.next_try - datetime.now(UTC)).total_seconds() > 6000


def test_one_that_stalls_in_the_middle_of_a_request(database: Database, tmp_path: Path, server: ScriptedServer) -> None:
    server.read_body = False
    bench = bench_of(database, tmp_path, server)
    number = bench.add(objects=1, size=64_000_000)
    bench.run()
    assert bench.parcel(number).error["reason"] == "stalled"
    small = bench.add(objects=1)
    bench.lane.run("pacs")
    assert bench.parcel(small).error["reason"] == "no-answer"


def test_nobody_listens(database: Database, tmp_path: Path) -> None:
    bench = bench_of(database, tmp_path, ScriptedServer())
    number = bench.add()
    bench.run()
    assert bench.parcel(number).error["reason"] == "refused"
    echo = answer(bench.settings, bench.settings.peers[0], 2)
    assert (echo["good"], echo["error"]["reason"]) == (False, "refused")


def test_one_that_answers_no_search_is_left_with_its_word(
    database: Database, tmp_path: Path, server: ScriptedServer
) -> None:
    server.searches = False
    bench = bench_of(database, tmp_path, server)
    number = bench.add()
    bench.run()
    parcel = bench.parcel(number)
    assert parcel.state == ParcelState.SENT
    assert parcel.verification.startswith("sent, cannot be verified: pacs: HTTP 404")


def test_a_password_comes_from_the_environment_and_is_told_nowhere(
    database: Database, tmp_path: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.wants = "Basic bm9kZTpzM2NyM3Qtb2YtdGhlLXRlc3Rz"  # node and the secret
    bench = bench_of(database, tmp_path, server, auth="basic", user="node", secret="env:PACS_SECRET")
    number = bench.add()
    monkeypatch.delenv("PACS_SECRET", raising=False)
    bench.run()
    assert bench.parcel(number).error["reason"] == "no-secret"
    assert "PACS_SECRET" in bench.parcel(number).error["message"]
    monkeypatch.setenv("PACS_SECRET", SECRET)
    bench.run()
    assert bench.parcel(number).state == ParcelState.PRESENT
    monkeypatch.setenv("PACS_SECRET", "changed")
    server.wants = "Basic bm9kZTpjaGFuZ2Vk"
    later = bench.add()
    bench.lane.run("pacs")
    assert bench.parcel(later).error["reason"] == "not-authorized"
    bench.run()
    assert bench.parcel(later).state == ParcelState.PRESENT
    monkeypatch.setenv("PACS_SECRET", "wrong")
    echo = answer(bench.settings, bench.settings.peers[0], 5)
    assert echo["error"]["reason"] == "not-authorized"
    assert SECRET not in json.dumps(echo)


def test_a_token_is_kept_and_renewed_when_the_server_takes_it_no_more(
    database: Database, tmp_path: Path, server: ScriptedServer
) -> None:
    server.wants = "token"
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    oauth = {"auth": "oauth2", "user": "node", "secret": f"file:{file}", "scope": "dicom.write"}
    token_url = f"http://127.0.0.1:{server.port}/token"
    bench = bench_of(database, tmp_path, server, token_url=token_url, **oauth)
    first = bench.add(objects=60)
    bench.run()
    assert bench.parcel(first).state == ParcelState.PRESENT
    (asked,) = server.token_requests  # for all requests
    assert asked[1] == b"grant_type=client_credentials&scope=dicom.write"
    assert asked[0].startswith("Basic ")
    server.tokens.append("revoked: another one counts")
    second = bench.add()
    bench.lane.run("pacs")
    assert bench.parcel(second).state == ParcelState.PRESENT, bench.parcel(second).error
    assert len(server.token_requests) == 2
    assert server.requests[-1] == [made.sop_uid for made in bench.parcel(second).artifacts]


def test_a_token_that_ends_soon_is_not_used(database: Database, tmp_path: Path, server: ScriptedServer) -> None:
    server.wants, server.token_life_s = "token", 5
    (tmp_path / "secret").write_text(SECRET)
    oauth = {"auth": "oauth2", "user": "node", "secret": f"file:{tmp_path / 'secret'}"}
    bench = bench_of(database, tmp_path, server, token_url=f"http://127.0.0.1:{server.port}/token", **oauth)
    number = bench.add()
    bench.run()
    assert bench.parcel(number).state == ParcelState.PRESENT
    assert len(server.token_requests) > 1


def test_without_a_token_nothing_is_sent_and_the_secret_is_told_nowhere(
    database: Database, tmp_path: Path, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.wants, server.token_status = "token", 401
    (tmp_path / "secret").write_text(SECRET)
    oauth = {"auth": "oauth2", "user": "node", "secret": f"file:{tmp_path / 'secret'}"}
    bench = bench_of(database, tmp_path, server, token_url=f"http://127.0.0.1:{server.port}/token", **oauth)
    number = bench.add()
    bench.run()
    parcel = bench.parcel(number)
    assert (parcel.state, parcel.error["reason"]) == (ParcelState.DUE, "no-token")
    assert "invalid_client" in parcel.error["message"]
    assert server.requests == []
    assert SECRET not in json.dumps(dict(parcel.error)) + caplog.text


def test_a_server_over_tls_must_show_a_good_certificate(database: Database, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    with ScriptedServer(certificate=authority.sign("pacs")).running() as server:
        bench = bench_of(database, tmp_path, server)
        number = bench.add()
        bench.run()
        assert bench.parcel(number).error["reason"] == "tls-certificate"
        trusting = [bench.settings.peers[0].model_copy(update={"ca": authority.own.file})]
        again = bench_in(database, tmp_path, peers=trusting)
        again.run()
        assert again.parcel(number).state == ParcelState.PRESENT
        missing = trusting[0].model_copy(update={"ca": tmp_path / "none.pem"})
        told = answer(Settings(peers=(missing,), tls=TlsSettings()), missing, 5)
        assert told["error"]["reason"] == "tls"


def test_our_own_door_takes_what_we_send(database: Database, tmp_path: Path) -> None:
    receiver = tmp_path / "receiver"
    receiver.mkdir()
    port, stop = free_port(), threading.Event()
    settings = Settings(node=NodeSettings(data_dir=receiver), web=WebSettings(port=port))
    arguments = (settings, database, Ledger(database), Parcels(database), dict, stop)
    thread = threading.Thread(target=serve_web, args=arguments)
    thread.start()
    try:
        peer = PeerSettings(name="pacs", kind="dicomweb", url=f"http://127.0.0.1:{port}/dicom-web")
        bench = bench_in(database, tmp_path, peers=[peer])
        wait_until(lambda: answer(bench.settings, peer, 5)["good"], "our own door")
        number = bench.add(objects=3)
        bench.run()
        parcel = bench.parcel(number)
        assert parcel.state == ParcelState.PRESENT, parcel.error  # sender and door share a ledger, so it is found there
        kept = sorted(receiver.glob("objects/stow/*/*.dcm"))
        assert len(kept) == 3
        for file, made in zip(kept, parcel.artifacts, strict=True):
            assert file.read_bytes()[-2048:] == (tmp_path / made.path).read_bytes()[-2048:]
    finally:
        stop.set()
        thread.join()
