"""TLS as the BCP 195 RFC 8996, 9325 profile has it (PS3.15 B.12): contexts, and what a certificate is bound to."""

from __future__ import annotations

import hashlib
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any

from dicom_node.errors import ConfigurationError
from dicom_node.settings import TlsSettings

CIPHERS_OF_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"  # RFC 9325 4.2: forward secrecy and AEAD; TLS 1.3 has no others
_SUBJECT_NAMES = {
    "CN": "commonName",
    "O": "organizationName",
    "OU": "organizationalUnitName",
    "C": "countryName",
    "L": "localityName",
    "ST": "stateOrProvinceName",
}


def server_context(tls: TlsSettings) -> ssl.SSLContext | None:
    """For peers that connect to us; None where no certificate is set.

    Raises:
        ConfigurationError: a file is missing or no good; names the key.
    """
    if tls.certificate is None:
        return None
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls)
    context.verify_mode = ssl.CERT_REQUIRED if tls.client_certificates == "required" else ssl.CERT_NONE
    if context.verify_mode is ssl.CERT_REQUIRED:
        _trust(context, tls, ssl.Purpose.CLIENT_AUTH)
    return context


@lru_cache(maxsize=8)
def client_context(tls: TlsSettings, *, check_host: bool) -> ssl.SSLContext:
    """For peers we connect to; ``check_host``: their certificate must name the host.

    Raises:
        ConfigurationError: a file is missing or no good; names the key.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, tls)
    context.check_hostname = check_host
    _trust(context, tls, ssl.Purpose.SERVER_AUTH)
    return context


def is_bound(connection: ssl.SSLSocket, wanted: str) -> bool:
    """Whether the peer's verified certificate is the one that ``PeerSettings.certificate`` names."""
    encoded = connection.getpeercert(binary_form=True)
    if encoded is None:
        return False
    if wanted.startswith("sha256:"):
        return hashlib.sha256(encoded).hexdigest() == wanted.removeprefix("sha256:").replace(":", "").lower()
    certificate: dict[str, Any] = dict(connection.getpeercert() or {})
    subject = {pair for relative in certificate.get("subject", ()) for pair in relative}
    parts = (part.strip().split("=", 1) for part in wanted.split(","))
    return all((_SUBJECT_NAMES[name], value.strip()) in subject for name, value in parts)


def _context(protocol: int, tls: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS_OF_TLS_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.certificate is not None and tls.key is not None:
        _must_be_readable(tls.certificate, "tls.certificate")
        _must_be_readable(tls.key, "tls.key")
        try:
            context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                f"{tls.certificate} and {tls.key} are no certificate with its key: {error}",
                key="tls.certificate",
                reason="tls",
                remedy="both must be PEM files that belong together, the key without a passphrase",
            ) from error
    return context


def _trust(context: ssl.SSLContext, tls: TlsSettings, purpose: ssl.Purpose) -> None:
    if tls.ca is None:
        context.load_default_certs(purpose)
        return
    _must_be_readable(tls.ca, "tls.ca")
    try:
        context.load_verify_locations(tls.ca)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{tls.ca} holds no certificates: {error}", key="tls.ca", reason="tls", remedy="it must be a PEM file"
        ) from error


def _must_be_readable(file: Path, key: str) -> None:
    try:
        file.open("rb").close()
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror}",
            key=key,
            reason="tls",
            remedy="correct the path or its permissions",
        ) from error


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")
