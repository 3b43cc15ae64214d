"""Settings of the patients' record: whose numbers are whose, what is taken from it, and where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from dicom_node.peer_settings import Networks, Port, Section


class IdentifierSettings(Section):
    """A system that numbers patients, and the issuer by which images name it."""

    system: Annotated[str, Field(min_length=1)]  # FHIR identifier.system, or HL7 assigning authority (CX-4)
    issuer: Annotated[str, Field(min_length=1, max_length=64)]  # Issuer of Patient ID (0010,0021)


class ServerSettings(Section):
    """``[[ehr.servers]]``: a FHIR server that is asked for the record when a model needs it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")]
    url: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$")]  # its base, up to what stands before /Patient
    release: Literal["R4", "R4B", "R5"] = "R4"
    deadline_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0  # for everything of one patient
    page: Annotated[int, Field(ge=1, le=10_000)] = 100  # resources asked for at once (_count)
    auth: Literal["none", "smart"] = "none"  # smart: SMART Backend Services
    token_url: Annotated[str, Field(pattern=r"^(https?://[^\s?#@]+)?$")] = ""  # of smart
    client_id: str = ""  # likewise
    key: Annotated[Path, Field(strict=False)] | None = None  # PEM: the private key, without a passphrase
    key_id: str = ""  # kid of the key registered with the server
    algorithm: Literal["ES384", "RS384"] = "ES384"
    scope: str = "system/*.read"
    sync_minutes: Annotated[float, Field(ge=0)] = 0.0  # between looks at what changed of patients we know; 0: none
    overlap_minutes: Annotated[float, Field(ge=0)] = 10.0  # of these looks, for what the server indexes late
    export: Annotated[str, Field(pattern=r"^(|system|Patient|Group/[A-Za-z0-9.-]{1,64})$")] = ""  # whom to $export
    export_hours: Annotated[float, Field(gt=0)] = 24.0  # between exports
    ca: Annotated[Path, Field(strict=False)] | None = None  # PEM: who signs the server's certificate

    @model_validator(mode="after")
    def _can_prove_who_we_are(self) -> ServerSettings:
        for key in ("token_url", "client_id", "key"):
            if bool(getattr(self, key)) != (self.auth == "smart"):
                raise ValueError(f"@{key}@goes with auth = 'smart', which needs it")
        return self

    def anchored(self, folder: Path) -> ServerSettings:
        """The same, with relative paths counted from ``folder``."""
        files = {name: path for name in ("key", "ca") if (path := getattr(self, name)) is not None}
        return self.model_copy(update={name: (folder / path.expanduser()).resolve() for name, path in files.items()})


class Hl7Settings(Section):
    """``[ehr.hl7]``: where HL7 v2 messages are listened for, over MLLP."""

    host: str = "127.0.0.1"
    port: Port = 2575
    tls: bool = False  # with the certificate of [tls], which may ask senders for theirs
    addresses: Networks = ()  # networks senders may call from; empty: anywhere
    maximum_bytes: Annotated[int, Field(ge=1024)] = 20_000_000  # of one message
    maximum_connections: Annotated[int, Field(ge=1)] = 20
    idle_seconds: Annotated[float, Field(gt=0)] = 3600.0  # silence of a connection
    accession: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{2}-[1-9][0-9]?$")], ...], Field(strict=False)
    ] = ("OBR-18", "OBR-3", "ORC-3")  # fields of orders where accession numbers are looked for, in this order


class SealSettings(Section):
    """``[ehr.seal]``: the keys that seal what records and genomes say; one of the three."""

    file: Annotated[Path, Field(strict=False)] | None = None  # one key a line, the current one first
    environment: str = ""  # name of the variable that holds the same
    command: Annotated[tuple[str, ...], Field(strict=False)] = ()  # prints the same: asks a key management service

    @model_validator(mode="after")
    def _is_one(self) -> SealSettings:
        if sum(map(bool, (self.file, self.environment, self.command))) != 1:
            raise ValueError("@file@set exactly one of file, environment and command")
        return self


class EhrSettings(Section):
    """``[ehr]``."""

    identifiers: tuple[IdentifierSettings, ...] = Field(default=(), strict=False)
    default_issuer: Annotated[str, Field(max_length=64)] = (
        ""  # of patient IDs of images that name none; empty: not known
    )
    deidentified_from: Annotated[tuple[str, ...], Field(strict=False)] = ()  # AE titles; their images are never matched
    mapping: Annotated[Path, Field(strict=False)] | None = None  # features of the site's own, beside those shipped
    servers: tuple[ServerSettings, ...] = Field(default=(), strict=False)
    hl7: Hl7Settings | None = None  # None: nobody listens
    seal: SealSettings | None = None  # None: what records and genomes say is not encrypted by the node

    @field_validator("identifiers")
    @classmethod
    def _are_told_once(cls, entries: tuple[IdentifierSettings, ...]) -> tuple[IdentifierSettings, ...]:
        systems = [entry.system for entry in entries]
        for index, system in enumerate(systems):
            if system in systems[:index]:
                raise ValueError(f"@{index}.system@{system!r} stands twice; a system has one issuer")
        return entries

    def issuer_of(self, system: str) -> str:
        """The issuer of numbers of a system; empty: the site has not said."""
        return next((entry.issuer for entry in self.identifiers if entry.system == system), "")

    def anchored(self, folder: Path) -> EhrSettings:
        """The same, with relative paths counted from ``folder``."""
        mapping = self.mapping and (folder / self.mapping.expanduser()).resolve()
        servers = tuple(server.anchored(folder) for server in self.servers)
        seal = self.seal
        if seal and seal.file:
            seal = seal.model_copy(update={"file": (folder / seal.file.expanduser()).resolve()})
        return self.model_copy(update={"mapping": mapping, "servers": servers, "seal": seal})
