"""Encryption at rest of what records and genomes say: AES-256 in GCM (NIST SP 800-38D), through ``cryptography``.

Sealed bytes begin with a mark, the name of the key (the first eight bytes of its SHA-256) and a nonce drawn for them;
what they are is authenticated with them, so that nothing sealed can stand in the place of something else. The first
key seals; the others open what was sealed before keys were changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from dicom_node.ehr_settings import SealSettings
from dicom_node.errors import ConfigurationError, LedgerError

MARK = b"DNSEAL\x01"
_NAME, _NONCE, _KEY = 8, 12, 32  # bytes
_COMMAND_S = 30
_FIELD = "sealed"


class Vault:
    """Seals and opens. Threads may share one."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """``keys``: 32 bytes each; the first one seals."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._keys = {_name(key): AESGCM(key) for key in keys}
        self._current = _name(keys[0])

    @classmethod
    def of(cls, settings: SealSettings | None) -> Vault | None:
        """With the keys that the site names; None: nothing is sealed.

        Raises:
            ConfigurationError: they cannot be had, or are none.
        """
        return None if settings is None else cls(_keys(settings))

    def seal(self, data: bytes, about: str) -> bytes:
        """Encrypt; ``about`` says what it is, and has to be told again to open it."""
        nonce = os.urandom(_NONCE)
        sealed = self._keys[self._current].encrypt(nonce, data, about.encode())
        return MARK + self._current + nonce + sealed

    def open(self, data: bytes, about: str) -> bytes:
        """What was sealed.

        Raises:
            LedgerError: its key is not among ours, or it was changed.
        """
        from cryptography.exceptions import InvalidTag

        name, nonce = _parts(data)
        key = self._keys.get(name)
        if key is None:
            raise _no_key(name)
        try:
            return key.decrypt(nonce, data[len(MARK) + _NAME + _NONCE :], about.encode())
        except InvalidTag as error:
            raise LedgerError(
                "what is sealed was changed, or stands where something else was",
                reason="seal-broken",
                remedy="restore it from a backup, or have its source send it again",
            ) from error

    def is_current(self, data: bytes) -> bool:
        """Whether it is sealed, and by the key that seals now."""
        return is_sealed(data) and _parts(data)[0] == self._current


def is_sealed(data: bytes) -> bool:
    """Whether bytes are sealed, by whatever key."""
    return data.startswith(MARK)


def opened(vault: Vault | None, data: bytes, about: str) -> bytes:
    """Bytes as they were before they were sealed, if they were.

    Raises:
        LedgerError: no key, the wrong one, or they were changed.
    """
    if not is_sealed(data):
        return data
    if vault is None:
        raise _no_key(_parts(data)[0])
    return vault.open(data, about)


class SealedJson(TypeDecorator[Any]):
    """JSON that is sealed where the ledger was opened with keys; what was written before stays readable."""

    impl = JSON
    cache_ok = True

    def __init__(self, about: str = "", **how: Any) -> None:
        """``about``: the table and column."""
        super().__init__(**how)
        self.about = about

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Seal it."""
        vault: Vault | None = getattr(dialect, "vault", None)
        if value is None or vault is None:
            return value
        data = vault.seal(json.dumps(value, ensure_ascii=False).encode(), self.about)
        return {_FIELD: base64.b64encode(data).decode()}

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Open it."""
        if not is_sealed_value(value):
            return value
        return json.loads(opened(getattr(dialect, "vault", None), base64.b64decode(value[_FIELD]), self.about))


def is_sealed_value(value: Any) -> bool:
    """Whether a value of a :class:`SealedJson` column is sealed, as the database holds it."""
    return isinstance(value, dict) and value.keys() == {_FIELD}


def sealed_bytes(value: dict[str, str]) -> bytes:
    """Of such a value."""
    return base64.b64decode(value[_FIELD])


def _name(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:_NAME]


def _parts(data: bytes) -> tuple[bytes, bytes]:
    begin = len(MARK)
    return data[begin : begin + _NAME], data[begin + _NAME : begin + _NAME + _NONCE]


def _no_key(name: bytes) -> LedgerError:
    return LedgerError(
        f"it is sealed by the key {name.hex()}, which is not here",
        reason="no-key",
        remedy="name that key in [ehr.seal], below the one that seals now",
    )


def _keys(settings: SealSettings) -> list[bytes]:
    where, text = _text(settings)
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        told = line.split("#")[0].strip()
        if not told:
            continue
        try:
            key = base64.b64decode(told, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _KEY:
            raise ConfigurationError(
                f"line {number} of {where} is no key: 32 bytes in Base64",
                key="ehr.seal",
                remedy="make one with: openssl rand -base64 32",
            )
        found.append(key)
    if not found:
        raise ConfigurationError(f"{where} holds no key", key="ehr.seal", remedy="make one: openssl rand -base64 32")
    return found


def _text(settings: SealSettings) -> tuple[str, str]:
    """Where keys are from, and their text; of what a command says on its error output nothing is told."""
    if settings.environment:
        return f"the environment variable {settings.environment}", os.environ.get(settings.environment, "")
    if settings.command:
        try:
            ran = subprocess.run(  # the site's own, from its configuration
                settings.command, capture_output=True, timeout=_COMMAND_S, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigurationError(
                f"{settings.command[0]} gave no key: {type(error).__name__}", key="ehr.seal"
            ) from error
        if ran.returncode:
            raise ConfigurationError(f"{settings.command[0]} gave no key: status {ran.returncode}", key="ehr.seal")
        return f"what {settings.command[0]} says", ran.stdout.decode("ascii", "replace")
    assert settings.file is not None  # noqa: S101  one of the three is set
    try:
        if settings.file.stat().st_mode & 0o077:
            raise ConfigurationError(
                f"{settings.file} may be read by others", key="ehr.seal.file", remedy=f"chmod 600 {settings.file}"
            )
        return str(settings.file), settings.file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigurationError(f"{settings.file} cannot be read: {error.strerror}", key="ehr.seal.file") from error
