from __future__ import annotations

from typing import Any, Literal

import pytest

from dicom_node.dimse.admission import Caller, Rejection, admit
from dicom_node.settings import NodeSettings, PeerSettings, Settings, TlsSettings


def settings(unknown_peers: Literal["reject", "accept"] = "reject", **scanner: Any) -> Settings:
    peers = (
        PeerSettings(name="ct", ae_title="SCANNER", host="10.0.0.5", port=104, **scanner),
        PeerSettings(name="archive", ae_title="ARCHIVE", host="10.0.0.6", port=104, receive=False),
    )
    node = NodeSettings(ae_title="DICOMNODE", unknown_peers=unknown_peers)
    return Settings.model_construct(node=node, tls=TlsSettings(), peers=peers)


def judge(
    settings: Settings, calling: str, called: str = "DICOMNODE", **caller: Any
) -> PeerSettings | Rejection | None:
    return admit(settings, Caller(calling, called, **{"address": "10.0.0.5", **caller}))


def rejected(judged: PeerSettings | Rejection | None) -> tuple[int, int, int]:
    assert isinstance(judged, Rejection)
    assert judged.remedy
    return judged.result, judged.source, judged.diagnostic


@pytest.mark.parametrize("calling", ["SCANNER", " SCANNER  "])
def test_a_known_peer_is_admitted(calling: str) -> None:
    known = settings()
    assert judge(known, calling, "DICOMNODE ") is known.peers[0]


@pytest.mark.parametrize("calling", ["NOBODY", "scanner", "ARCHIVE", ""])
def test_an_unknown_peer_is_rejected_by_its_title(calling: str) -> None:
    rejection = judge(settings(), calling)
    assert rejected(rejection) == (1, 1, 3)
    assert isinstance(rejection, Rejection)
    assert repr(calling) in rejection.reason
    assert "[[peers]]" in rejection.remedy


def test_unknown_peers_are_admitted_where_the_settings_say_so() -> None:
    assert judge(settings("accept"), "NOBODY") is None


def test_without_any_peer_everybody_is_unknown() -> None:
    assert rejected(judge(Settings(), "SCANNER")) == (1, 1, 3)


@pytest.mark.parametrize("unknown_peers", ["reject", "accept"])
@pytest.mark.parametrize("calling", ["SCANNER", "NOBODY"])
def test_another_called_title_is_rejected(unknown_peers: Literal["reject", "accept"], calling: str) -> None:
    assert rejected(judge(settings(unknown_peers), calling, "ORTHANC")) == (1, 1, 7)


def test_a_peer_may_call_us_by_titles_of_its_own() -> None:
    known = settings("accept", called_ae_titles=("CHEST", "HEAD"))
    assert judge(known, "SCANNER", "HEAD") is known.peers[0]
    assert judge(known, "SCANNER") is known.peers[0]
    assert rejected(judge(known, "NOBODY", "HEAD")) == (1, 1, 7)


@pytest.mark.parametrize("address", ["10.0.0.5", "192.168.7.200", "fd00::9", "::ffff:10.0.0.5", "fe80::1%eth0"])
def test_a_peer_calls_from_its_addresses(address: str) -> None:
    known = settings(addresses=("10.0.0.5", "192.168.0.0/16", "fd00::/8", "fe80::1"))
    assert judge(known, "SCANNER", address=address) is known.peers[0]


@pytest.mark.parametrize("address", ["10.0.0.6", "192.169.0.1", "fe80::2", "::ffff:10.0.0.6"])
def test_a_peer_from_elsewhere_is_not_recognized(address: str) -> None:
    known = settings("accept", addresses=("10.0.0.5", "192.168.0.0/16", "fd00::/8", "fe80::1"))
    rejection = judge(known, "SCANNER", address=address)
    assert rejected(rejection) == (1, 1, 3)
    assert isinstance(rejection, Rejection)
    assert address in rejection.reason
    assert "'ct'" in rejection.remedy


def test_tls_and_the_certificate_are_asked_for() -> None:
    known = settings(tls=True, certificate="CN=ct")
    assert rejected(judge(known, "SCANNER")) == (1, 1, 1)
    assert rejected(judge(known, "SCANNER", secured=True)) == (1, 1, 1)
    assert rejected(judge(known, "SCANNER", secured=True, has_certificate=lambda wanted: wanted == "CN=mr")) == (
        1,
        1,
        1,
    )
    shown = judge(known, "SCANNER", secured=True, has_certificate=lambda wanted: wanted == "CN=ct")
    assert shown is known.peers[0]


def test_of_peers_with_one_title_that_is_meant_whose_entry_fits() -> None:
    def scanner(name: str, address: str) -> PeerSettings:
        return PeerSettings(name=name, ae_title="SCANNER", host=address, port=104, addresses=(address,))

    known = Settings(peers=(scanner("first", "10.0.0.1"), scanner("second", "10.0.0.2")))
    assert judge(known, "SCANNER", address="10.0.0.2") is known.peers[1]
    assert rejected(judge(known, "SCANNER", address="10.0.0.3")) == (1, 1, 3)
