"""Secrets are read where the entry says, and told nowhere."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from dicom_node.errors import PeerError
from dicom_node.exchange.authorization import ClientCredentials, authorization, read_secret
from dicom_node.settings import PeerSettings

PEER = PeerSettings(
    name="cloud",
    kind="dicomweb",
    url="https://pacs.example.org/dicom-web",
    auth="oauth2",
    user="node",
    secret="env:CLOUD_SECRET",
    token_url="https://id.example.org/token",
)


def test_from_a_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_SECRET", "of the variable")
    assert read_secret(PEER) == "of the variable"
    (tmp_path / "secret").write_text("of the file \n")
    assert read_secret(PEER.model_copy(update={"secret": f"file:{tmp_path / 'secret'}"})) == "of the file "
    assert authorization(PEER.model_copy(update={"auth": "none"})) is None
    assert isinstance(authorization(PEER.model_copy(update={"auth": "basic"})), httpx.BasicAuth)
    assert isinstance(authorization(PEER), ClientCredentials)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"\n"])
def test_one_that_is_not_there_is_told_with_its_place(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PeerError, match=r"the file .*secret") as caught:
        read_secret(PEER.model_copy(update={"secret": f"file:{file}"}))
    assert caught.value.reason == "no-secret"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"no json"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"access_token": "t", "expires_in": "soon"}'),
        (400, b'{"error": "invalid_scope"}'),
        (500, b"\xff"),
    ],
)
def test_what_is_no_token_is_told(status: int, body: bytes) -> None:
    flow = ClientCredentials(PEER, "hunter2").sync_auth_flow(httpx.Request("GET", PEER.url))
    asked = next(flow)
    assert str(asked.url) == PEER.token_url
    with pytest.raises(PeerError) as caught:
        flow.send(httpx.Response(status, content=body))
    assert caught.value.reason == "no-token"
    assert "hunter2" not in caught.value.message + caught.value.remedy
