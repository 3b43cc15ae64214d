from __future__ import annotations

from typing import Literal

import pytest

from dicom_node.dimse.admission import refusal
from dicom_node.settings import NodeSettings, PeerSettings, Settings


def settings(unknown_peers: Literal["reject", "accept"] = "reject") -> Settings:
    peers = (
        PeerSettings(name="ct", ae_title="SCANNER", host="10.0.0.5", port=104),
        PeerSettings(name="archive", ae_title="ARCHIVE", host="10.0.0.6", port=104, receive=False),
    )
    return Settings(node=NodeSettings(ae_title="DICOMNODE", unknown_peers=unknown_peers), peers=peers)


@pytest.mark.parametrize("calling", ["SCANNER", " SCANNER  "])
def test_a_known_peer_is_admitted(calling: str) -> None:
    assert refusal(settings(), calling, "DICOMNODE ") is None


@pytest.mark.parametrize("calling", ["NOBODY", "scanner", "ARCHIVE", ""])
def test_an_unknown_peer_is_rejected_by_its_title(calling: str) -> None:
    rejection = refusal(settings(), calling, "DICOMNODE")
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.diagnostic) == (1, 1, 3)
    assert repr(calling) in rejection.reason
    assert "[[peers]]" in rejection.remedy


def test_unknown_peers_are_admitted_where_the_settings_say_so() -> None:
    assert refusal(settings("accept"), "NOBODY", "DICOMNODE") is None


def test_without_any_peer_everybody_is_unknown() -> None:
    assert refusal(Settings(), "SCANNER", "DICOMNODE") is not None


@pytest.mark.parametrize("unknown_peers", ["reject", "accept"])
def test_another_called_title_is_rejected(unknown_peers: Literal["reject", "accept"]) -> None:
    rejection = refusal(settings(unknown_peers), "SCANNER", "ORTHANC")
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.diagnostic) == (1, 1, 7)
