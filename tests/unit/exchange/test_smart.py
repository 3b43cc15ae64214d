"""SMART Backend Services: a token for a signed assertion, kept while it is good, and renewed once when it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fhir_records import patient
from fhir_server import FhirServer

from dicom_node.ehr_settings import ServerSettings
from dicom_node.errors import PeerError
from dicom_node.exchange.fhir_client import FhirClient

PEM, PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()
PRIVATE, PUBLIC = serialization.PrivateFormat.PKCS8, serialization.PublicFormat.SubjectPublicKeyInfo


@pytest.fixture(params=["ES384", "RS384"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[FhirServer, ServerSettings]]:
    made = (
        ec.generate_private_key(ec.SECP384R1())
        if request.param == "ES384"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    key = tmp_path / "key.pem"
    key.write_bytes(made.private_bytes(PEM, PRIVATE, PLAIN))
    with FhirServer([patient()], public_key=made.public_key().public_bytes(PEM, PUBLIC).decode()) as server:
        yield (
            server,
            ServerSettings(
                name="epic",
                url=server.url,
                auth="smart",
                token_url=server.token_url,
                client_id="node",
                key=key,
                key_id="k1",
                algorithm=request.param,
            ),
        )


def search(client: FhirClient) -> list[bytes]:
    return list(client.search("Patient", {}, time.monotonic() + 5))


def test_one_token_serves_many_searches(settings: tuple[FhirServer, ServerSettings]) -> None:
    server, entry = settings
    with FhirClient(entry) as client:
        for _ in range(3):
            assert len(search(client)) == 1
    assert len(server.used) == 1


def test_a_token_that_is_taken_no_more_is_renewed_once(settings: tuple[FhirServer, ServerSettings]) -> None:
    server, entry = settings
    with FhirClient(entry) as client:
        search(client)
        server.faults = ["401"]
        assert len(search(client)) == 1
        server.faults = ["401", "401"]
        with pytest.raises(PeerError) as caught:
            search(client)
    assert caught.value.reason == "not-authorized"


def test_another_client_gets_no_token(settings: tuple[FhirServer, ServerSettings]) -> None:
    _, entry = settings
    with FhirClient(entry.model_copy(update={"client_id": "other"})) as client, pytest.raises(PeerError) as caught:
        search(client)
    assert (caught.value.reason, "invalid_client" in str(caught.value)) == ("no-token", True)


def test_a_key_that_does_not_sign_is_told_without_it(
    settings: tuple[FhirServer, ServerSettings], tmp_path: Path
) -> None:
    _, entry = settings
    bad = tmp_path / "bad.pem"
    bad.write_text("no key")
    with FhirClient(entry.model_copy(update={"key": bad})) as client, pytest.raises(PeerError) as caught:
        search(client)
    assert caught.value.reason == "no-token"
    with pytest.raises(PeerError, match="cannot be read"):
        FhirClient(entry.model_copy(update={"key": tmp_path / "none.pem"}))
