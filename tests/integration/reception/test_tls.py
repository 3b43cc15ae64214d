"""DICOM over TLS, with DCMTK and with peers that do it wrongly."""

from __future__ import annotations

import random
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from certificates import Authority, Certificate
from listening import AcceptorProcess, StoreSCP
from peers import end, free_port, program, run_peer, storescu, wait_until
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom.dsutils import split_dataset

from dicom_node.dimse import command
from dicom_node.dimse.associate import Association, Proposal, echo
from dicom_node.dimse.send import Sender
from dicom_node.dimse.tls import client_context, server_context
from dicom_node.domain.sending import OutgoingObject
from dicom_node.errors import ConfigurationError, PeerError
from dicom_node.settings import PeerSettings, TlsSettings

MR = "1.2.840.10008.5.1.4.1.1.4"
PROPOSAL = Proposal(MR, (str(ExplicitVRLittleEndian),))
pytestmark = [pytest.mark.peer]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "clinic")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "stranger", "Somebody else")


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.sign("node", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def scanner(authority: Authority) -> Certificate:
    return authority.sign("ct1")


@contextmanager
def listening(folder: Path, authority: Authority, ours: Certificate, peer: str) -> Iterator[AcceptorProcess]:
    """An acceptor with a TLS port, which knows TLSSCU beside STORESCU."""
    more = f"""
[[peers]]
name = "secure"
ae_title = "TLSSCU"
host = "127.0.0.1"
port = 104
tls = true
{peer}
[tls]
certificate = "{ours.file}"
key = "{ours.key}"
ca = "{authority.own.file}"
port = {free_port()}
"""
    node = AcceptorProcess(folder / "node", more=more, environment={"DICOM_NODE__NODE__ASSOCIATION_SECONDS": "2"})
    node.start()
    yield node
    if node.process is not None:
        end(node.process)


@pytest.fixture
def node(tmp_path: Path, authority: Authority, ours: Certificate) -> Iterator[AcceptorProcess]:
    with listening(tmp_path, authority, ours, 'certificate = "CN=ct1, O=Clinic"') as started:
        yield started


def tls_port(node: AcceptorProcess) -> int:
    return int(node.more.rsplit("port = ", 1)[1])


def us(node: AcceptorProcess, **changed: object) -> PeerSettings:
    """The node as a peer that is reached over TLS."""
    return node.peer.model_copy(update={"port": tls_port(node), "tls": True, **changed})


def files(authority: Authority, shown: Certificate | None) -> TlsSettings:
    if shown is None:
        return TlsSettings(ca=authority.own.file)
    return TlsSettings(certificate=shown.file, key=shown.key, ca=authority.own.file)


def options(authority: Authority, shown: Certificate) -> list[str]:
    """Those of DCMTK."""
    return ["--enable-tls", str(shown.key), str(shown.file), "--add-cert-file", str(authority.own.file)]


def image(folder: Path, size: int = 3_000_000) -> Path:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = MR, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.PatientName = "Yamada^Tarou"
    data.add_new(0x00420011, "OB", random.Random(size).randbytes(size))
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{size}.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


def data_set(path: Path) -> bytes:
    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]


def outgoing(path: Path) -> OutgoingObject:
    meta, _ = split_dataset(path)
    return OutgoingObject(path, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)


def test_dcmtk_sends_over_tls(
    node: AcceptorProcess, authority: Authority, scanner: Certificate, tmp_path: Path
) -> None:
    paths = [image(tmp_path, size) for size in (0, 2, 20_000, 3_000_000)]
    sent = storescu(tls_port(node), *paths, called="DICOMNODE", calling="TLSSCU", options=options(authority, scanner))
    assert sent.returncode == 0, sent.stderr
    assert [data_set(path) for path in node.objects()] == [data_set(path) for path in paths]


def test_our_own_sender_over_tls(
    node: AcceptorProcess, authority: Authority, scanner: Certificate, tmp_path: Path
) -> None:
    paths = [image(tmp_path, size) for size in (30_000, 8_000_000)]
    sender = Sender(tls=files(authority, scanner))
    assert all(outcome.ok for outcome in sender.send(us(node), "TLSSCU", [outgoing(path) for path in paths]))
    assert [data_set(path) for path in node.objects()] == [data_set(path) for path in paths]


@pytest.mark.parametrize("seed", range(4))
def test_records_of_any_size(node: AcceptorProcess, authority: Authority, scanner: Certificate, seed: int) -> None:
    chance = random.Random(seed)
    expected = []
    with Association(us(node), "TLSSCU", [PROPOSAL], tls=files(authority, scanner)) as association:
        for number in range(1, 4):
            data = chance.randbytes(chance.randrange(1, 300_000))
            expected.append(data)
            asked = command.request(command.C_STORE_RQ, MR, number, sop_instance=f"1.2.{number}", has_data_set=True)
            stream = command.pdu(1, 3, asked)
            for start in range(0, len(data), 60_000):
                part = data[start : start + 60_000]
                stream += command.pdu(1, 2 if start + 60_000 >= len(data) else 0, part)
            while stream:
                cut = chance.choice([1, 2, 5, 11, 100, 16_384, 16_385, 50_000])
                association._socket.sendall(stream[:cut])
                stream = stream[cut:]
            association._message_id = number
            assert association.response()[0].number(0x0900) == 0
    assert [path.read_bytes()[-len(data) :] for path, data in zip(node.objects(), expected, strict=True)] == expected


def test_dcmtk_receives_over_tls(authority: Authority, ours: Certificate, scanner: Certificate, tmp_path: Path) -> None:
    receiver = StoreSCP(tmp_path / "storescp", ("--bit-preserving", *options(authority, scanner)))
    receiver.folder.mkdir()
    arguments = [*receiver.options, "--output-directory", str(receiver.folder), str(receiver.port)]
    receiver.process = subprocess.Popen([program("storescp"), *arguments])
    peer = receiver.peer.model_copy(update={"tls": True, "certificate": "CN=ct1"})
    tls = files(authority, ours)
    try:
        wait_until(lambda: answers(peer, tls), "storescp to start")
        path = image(tmp_path)
        (outcome,) = Sender(tls=tls).send(peer, "DICOMNODE", [outgoing(path)])
        assert outcome.ok, outcome.message
        assert [data_set(file) for file in receiver.files()] == [data_set(path)]
        with pytest.raises(PeerError) as raised:
            echo(peer.model_copy(update={"tls": False}), "DICOMNODE")
        assert raised.value.reason in ("lost", "not-dicom", "no-answer")
    finally:
        end(receiver.process)


def answers(peer: PeerSettings, tls: TlsSettings) -> bool:
    try:
        return echo(peer, "DICOMNODE", tls=tls) > 0
    except PeerError:
        return False


def test_dcmtk_asks_whether_we_are_there(node: AcceptorProcess, authority: Authority, scanner: Certificate) -> None:
    asked = ["--aetitle", "TLSSCU", "--call", "DICOMNODE", *options(authority, scanner), "127.0.0.1"]
    assert run_peer("echoscu", *asked, tls_port(node)).returncode == 0
    assert run_peer("echoscu", *asked, node.port).returncode != 0
    wait_until(lambda: "it speaks TLS to a port that does not" in node.log(), "the log")


def test_a_peer_that_must_use_tls_may_not_do_without(node: AcceptorProcess) -> None:
    with pytest.raises(PeerError, match="rejected") as raised:
        echo(node.peer, "TLSSCU")
    assert "no reason given" in str(raised.value)
    assert "let the peer connect to tls.port over TLS" in node.log()


def test_what_a_client_must_show(
    node: AcceptorProcess, authority: Authority, stranger: Authority, ours: Certificate, scanner: Certificate
) -> None:
    assert echo(us(node), "TLSSCU", tls=files(authority, scanner)) > 0
    for shown in (None, stranger.sign("ct1")):
        with pytest.raises(PeerError) as raised:
            echo(us(node), "TLSSCU", tls=files(authority, shown))
        assert raised.value.reason in ("tls", "lost")
    with pytest.raises(PeerError, match="rejected"):
        echo(us(node), "TLSSCU", tls=files(authority, ours))
    assert "another certificate than 'CN=ct1, O=Clinic'" in node.log()


def test_what_a_server_must_show(
    node: AcceptorProcess, authority: Authority, stranger: Authority, ours: Certificate, scanner: Certificate
) -> None:
    tls = files(authority, scanner)
    bound = f"sha256:{ours.fingerprint()}"
    assert echo(us(node, certificate=bound), "TLSSCU", tls=tls) > 0
    assert echo(us(node, host="localhost", certificate="CN=node"), "TLSSCU", tls=tls) > 0
    for peer, trusted, message in (
        (us(node, host="localhost"), tls, "Hostname mismatch"),
        (us(node), TlsSettings(ca=stranger.own.file), "self-signed certificate|local issuer"),
        (us(node, certificate=f"sha256:{scanner.fingerprint()}"), tls, "another certificate"),
        (us(node, certificate="CN=pacs"), tls, "another certificate"),
    ):
        with pytest.raises(PeerError, match=message) as raised:
            echo(peer, "TLSSCU", tls=trusted)
        assert raised.value.reason == "tls-certificate"
        assert raised.value.remedy


@pytest.mark.parametrize(
    "weak",
    [
        ["-tls1_1", "-cipher", "ALL@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "AES128-GCM-SHA256"],  # no forward secrecy
        ["-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384"],  # no AEAD
    ],
)
def test_weak_tls_is_refused(
    node: AcceptorProcess, authority: Authority, scanner: Certificate, weak: list[str]
) -> None:
    def connects(*how: str) -> bool:
        shown = ["-cert", str(scanner.file), "-key", str(scanner.key), "-CAfile", str(authority.own.file)]
        asked = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{tls_port(node)}", *shown, *how]
        ran = subprocess.run(asked, input="", capture_output=True, text=True, timeout=30, check=False)
        return "Cipher is (NONE)" not in ran.stdout and ran.returncode == 0

    assert connects("-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384")
    assert not connects(*weak)


def test_whoever_does_not_shake_hands_holds_nobody_up(
    node: AcceptorProcess, authority: Authority, scanner: Certificate
) -> None:
    silent = [socket.create_connection(("127.0.0.1", tls_port(node))) for _ in range(20)]
    dribbling = socket.create_connection(("127.0.0.1", tls_port(node)))
    dribbling.sendall(b"\x16\x03\x01\x02\x00\x01")
    plain = socket.create_connection(("127.0.0.1", tls_port(node)))
    plain.sendall(bytes.fromhex("0100000000cd0001"))
    started = time.monotonic()
    assert echo(us(node), "TLSSCU", tls=files(authority, scanner)) < 1.5
    for connection in (*silent, dribbling, plain):
        connection.settimeout(10)
        while connection.recv(100):  # an alert, perhaps
            continue
        connection.close()
    assert time.monotonic() - started < 10
    assert echo(us(node), "TLSSCU", tls=files(authority, scanner)) > 0


def test_a_record_that_never_ends_is_given_up(
    node: AcceptorProcess, authority: Authority, scanner: Certificate
) -> None:
    context = ssl.create_default_context(cafile=str(authority.own.file))
    context.load_cert_chain(scanner.file, scanner.key)
    raw = socket.create_connection(("127.0.0.1", tls_port(node)))
    incoming, outgoing_bytes = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing_bytes, server_hostname="127.0.0.1")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            raw.sendall(outgoing_bytes.read())
            incoming.write(raw.recv(65536))
    raw.sendall(outgoing_bytes.read() + b"\x17\x03\x03\x40\x00half a record")
    raw.settimeout(10)
    while raw.recv(65536):  # session tickets come first
        continue
    raw.close()
    assert echo(us(node), "TLSSCU", tls=files(authority, scanner)) > 0


def test_a_file_that_is_no_key_is_told(tmp_path: Path, authority: Authority, ours: Certificate) -> None:
    nothing, wrong = tmp_path / "none.pem", tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for tls, key in (
        (TlsSettings(certificate=nothing, key=ours.key), "tls.certificate"),
        (TlsSettings(certificate=ours.file, key=nothing), "tls.key"),
        (TlsSettings(certificate=ours.file, key=authority.own.key), "tls.certificate"),
        (TlsSettings(certificate=wrong, key=ours.key), "tls.certificate"),
        (TlsSettings(certificate=ours.file, key=ours.key, ca=wrong), "tls.ca"),
    ):
        with pytest.raises(ConfigurationError) as raised:
            server_context(tls)
        assert raised.value.key == key
        assert raised.value.remedy
    with pytest.raises(ConfigurationError):
        client_context(TlsSettings(ca=nothing), check_host=True)
    assert server_context(TlsSettings()) is None
