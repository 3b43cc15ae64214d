"""Certificates for tests, made by the openssl program: an authority, and what it has signed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from peers import program


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, both PEM."""

    file: Path
    key: Path

    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in the colons of openssl."""
        told = _openssl("x509", "-in", self.file, "-noout", "-fingerprint", "-sha256")
        return told.strip().partition("=")[2]


@dataclass(frozen=True)
class Authority:
    """Signs certificates in a folder of its own."""

    folder: Path
    own: Certificate

    @classmethod
    def make(cls, folder: Path, common_name: str = "Tests' authority") -> Authority:
        """A new one."""
        folder.mkdir(parents=True)
        own = Certificate(folder / "ca.pem", folder / "ca.key")
        subject = ["-subj", f"/CN={common_name}", "-days", "2"]
        _openssl("req", "-x509", *_NEW_KEY, "-keyout", own.key, "-out", own.file, *subject)
        return cls(folder, own)

    def sign(self, common_name: str, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificate:
        """A certificate with O=Clinic and these subject alternative names."""
        stem = common_name.replace(" ", "_")
        made = Certificate(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        request, extensions = self.folder / f"{stem}.csr", self.folder / f"{stem}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        subject = ["-subj", f"/O=Clinic/CN={common_name}"]
        _openssl("req", *_NEW_KEY, "-keyout", made.key, "-out", request, *subject)
        signing = ["-CA", self.own.file, "-CAkey", self.own.key, "-CAcreateserial", "-days", "2"]
        _openssl("x509", "-req", "-in", request, "-out", made.file, "-extfile", extensions, *signing)
        return made


_NEW_KEY = ("-newkey", "rsa:2048", "-nodes")


def _openssl(*arguments: str | Path) -> str:
    ran = subprocess.run([program("openssl"), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
