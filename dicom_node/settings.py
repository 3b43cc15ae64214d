"""Settings: one frozen tree, read once from ``dicom-node.toml`` and the environment, then passed in.

``DICOM_NODE__SECTION__KEY`` overrides a key. A wrong key or type is refused with file, line and what was expected.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from dicom_node.domain.hours import Hours
from dicom_node.ehr_settings import EhrSettings
from dicom_node.environment import override
from dicom_node.errors import ConfigurationError
from dicom_node.genomics_settings import GenomicsSettings
from dicom_node.peer_settings import AETitle, Name, OnDifference, OnGone, Port, Seconds, Section
from dicom_node.peer_settings import PeerSettings as PeerSettings  # read from here by all who know the settings
from dicom_node.toml_lines import key_text, line_of

DEFAULT_FILE = Path("dicom-node.toml")

LABEL_PATTERN = r"^[A-Za-z0-9._-]{1,32}$"
Label = Annotated[str, Field(pattern=LABEL_PATTERN)]


class NodeSettings(Section):
    """Who we are on the network and where we keep things."""

    ae_title: AETitle = "DICOMNODE"
    host: str = "0.0.0.0"  # noqa: S104  a DICOM node is there to be reached by its PACS
    port: Port = 11112
    data_dir: Path = Field(default=Path("./dicom-node-data"), strict=False)
    unknown_peers: Literal["reject", "accept"] = "reject"
    acceptors: Annotated[int, Field(ge=1, le=16)] = 1  # processes that receive, on the same port
    maximum_associations: Annotated[int, Field(ge=1)] = 50
    maximum_pdu_size: Annotated[int, Field(ge=4096)] = 131072
    maximum_object_bytes: Annotated[int, Field(ge=1024)] = 8_000_000_000  # of one data set
    association_seconds: Annotated[float, Field(gt=0)] = 30.0  # from the connection to the request (ARTIM)
    pdu_seconds: Annotated[float, Field(gt=0)] = 60.0  # from the first byte of a PDU to its last
    idle_seconds: Annotated[float, Field(gt=0)] = 300.0  # silence of an association
    slowest_bytes_per_second: Annotated[int, Field(ge=0)] = 1000  # while a message is under way; 0: any
    least_free_bytes: Annotated[int, Field(ge=0)] = 500_000_000  # below it new associations are rejected
    least_free_percent: Annotated[float, Field(ge=0, lt=100)] = 0.0  # likewise
    time_zone: str = ""  # IANA name; empty: the machine's
    commit: Literal["auto", "portable"] = "auto"  # one flush an object where the file system allows it, or always two
    name: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,23})?$")] = ""  # among several nodes on one ledger
    called_ae_priorities: dict[AETitle, Literal["stat", "urgent", "routine"]] = Field(default_factory=dict)

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            if name:
                ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("Input should be a time zone such as 'Europe/Zurich'") from error
        return name


class TlsSettings(Section):
    """DICOM over TLS, as BCP 195 (RFC 9325) has it: PS3.15 B.12."""

    certificate: Annotated[Path, Field(strict=False)] | None = None  # PEM, with its chain; None: we accept no TLS
    key: Annotated[Path, Field(strict=False)] | None = None  # PEM, without a passphrase
    ca: Annotated[Path, Field(strict=False)] | None = None  # PEM: who signs the peers' certificates; None: the system's
    port: Port = 2762  # the same as node.port: nothing but TLS is spoken
    client_certificates: Literal["required", "none"] = "required"  # of peers that connect to us


class WebSettings(Section):
    """The pages and the API."""

    host: str = "127.0.0.1"
    port: Port = 8080
    ohif_port: Port = 8081  # of OHIF and the DICOMweb it reads, once it is installed
    viewer_url: str = ""  # of the PACS's own viewer; {study} stands for the Study Instance UID

    @field_validator("viewer_url")
    @classmethod
    def _is_a_page(cls, address: str) -> str:
        if address and not (address.startswith(("https://", "http://")) and "{study}" in address):
            raise ValueError("Input should be an address such as 'https://pacs.example.org/view?study={study}'")
        return address


class DatabaseSettings(Section):
    """``sqlite`` (a file in the data directory) or a SQLAlchemy URL of PostgreSQL."""

    url: str = "sqlite"


class BrokerSettings(Section):
    """``embedded`` (a broker of our own on a unix socket), or ``redis://…``."""

    url: str = "embedded"


class CompletionSettings(Section):
    """When a series or study counts as whole."""

    quiet_seconds: Seconds = 30.0
    study_quiet_seconds: Seconds = 300.0
    gap_wait_seconds: Seconds = 3600.0  # how long a series with missing slices is waited for
    association_end_seconds: Seconds | None = None  # quiet period that is enough once the association has ended
    maximum_wait_seconds: Seconds = 7200.0  # after the last image, for whatever else is missing
    after_maximum: Literal["take", "hold"] = "take"  # what is missing then: taken as it is, or held for a person


class WorkerSettings(Section):
    """How models are run."""

    devices: tuple[str, ...] = Field(default=("auto",), strict=False)  # one worker each: auto, cpu, cuda:0 …
    lease_seconds: Annotated[float, Field(ge=1)] = 60.0
    maximum_attempts: Annotated[int, Field(ge=1)] = 3
    stalled_seconds: Annotated[float, Field(ge=5)] = 30.0  # an idle worker for which a job waits so long is replaced
    routine_wait_minutes: Annotated[float, Field(gt=0)] = 60.0  # a routine job that waits longer becomes urgent
    at_once: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)  # model -> jobs at the same time
    labels: tuple[Label, ...] = Field(default=(), strict=False)  # of workers on this machine, beside cpu or gpu


class ModelSettings(Section):
    """Where bundles are looked for, before those that are shipped."""

    folders: tuple[Annotated[Path, Field(strict=False)], ...] = Field(default=(), strict=False)


class DeliverySettings(Section):
    """How results are sent, sent again, and looked for."""

    first_pause_seconds: Annotated[float, Field(gt=0)] = 5.0
    longest_pause_seconds: Annotated[float, Field(gt=0)] = 600.0
    timeout_seconds: Annotated[float, Field(gt=0)] = 60.0  # for the connection, each part of an object, each answer
    refused_after_tries: Annotated[int, Field(ge=1)] = 3  # refusals in a row, before a person must act
    refused_encoding_days: Annotated[float, Field(ge=0)] = 7.0  # in which what a peer knows not is not its first choice
    verify_after_seconds: Seconds = 10.0  # from the last Success to the first look into the peer
    commitment_wait_seconds: Annotated[float, Field(gt=0)] = 3600.0  # for an answer, before a peer is asked again
    check_seconds: Annotated[float, Field(gt=0)] = 10.0  # that a peer may take to tell how it has the images
    recheck_days: Annotated[float, Field(ge=0)] = 3.0  # after delivery in which it is asked again, daily; 0: never


class AfterSettings(Section):
    """What another rule's model must have found on the same images before."""

    rule: Name
    finding: Name  # of a class or evaluation in its model's contract
    presence: Literal["present", "absent"] = "present"


class RuleSettings(Section):
    """Which model runs on what, or, without a model, what is sent on; compiled by ``dicom_node.rules``."""

    name: Name
    model: Name | None = None  # none: what arrives is sent on as it is
    all: tuple[str, ...] = Field(default=(), strict=False)
    any: tuple[str, ...] = Field(default=(), strict=False)
    none: tuple[str, ...] = Field(default=(), strict=False)
    prefer: tuple[str, ...] = Field(default=(), strict=False)
    trigger: Literal["series", "study", "arrival"] = "series"
    quiet_seconds: Seconds | None = None
    send_to: tuple[str, ...] = Field(default=(), strict=False)
    priority: Literal["stat", "urgent", "routine"] = "routine"
    late: Literal["supersede", "ignore", "ask"] = "supersede"  # a later, better selection: new result, none, or asked
    late_inputs: Literal["ignore", "supersede"] = "ignore"  # other findings or features: none, or a new result
    research_to_clinical: bool = False
    parameters: dict[str, Any] = Field(default_factory=dict)
    useful_for: Annotated[float, Field(gt=0)] | None = None  # seconds after the last image; later, a result is late
    forward: Literal["series", "study"] = "series"  # sent on: the series that match, or the study of any that does
    sop_classes: tuple[str, ...] = Field(default=(), strict=False)  # UIDs: only these are sent on; empty: all
    labels: tuple[Label, ...] = Field(default=(), strict=False)  # that a worker must have to run its jobs
    send_hours: tuple[str, ...] = Field(default=(), strict=False)  # when it is sent on; empty: always
    on_no_result: tuple[str, ...] | None = Field(default=None, strict=False)  # peers told; None: by the priority
    after: AfterSettings | None = None
    on_difference: OnDifference | None = None  # of its results; None: as the peer's entry says
    on_gone: OnGone | None = None  # likewise

    @field_validator("send_hours")
    @classmethod
    def _are_hours(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        Hours.parse(texts)
        return texts


def _check_count(index: int, peer: PeerSettings, known: Sequence[str]) -> None:
    if peer.count_at and peer.count_at not in known:
        raise ValueError(f"@peers.{index}.count_at@no peer is named {peer.count_at!r} (known: {', '.join(known)})")
    if peer.count_at and peer.count == "none":
        raise ValueError(f'@peers.{index}.count_at@nobody is asked without a count; set count = "series" or "study"')


class Settings(Section):
    """Everything the node is told."""

    node: NodeSettings = NodeSettings()
    tls: TlsSettings = TlsSettings()
    web: WebSettings = WebSettings()
    database: DatabaseSettings = DatabaseSettings()
    broker: BrokerSettings = BrokerSettings()
    completion: CompletionSettings = CompletionSettings()
    worker: WorkerSettings = WorkerSettings()
    models: ModelSettings = ModelSettings()
    delivery: DeliverySettings = DeliverySettings()
    ehr: EhrSettings = EhrSettings()
    genomics: GenomicsSettings = GenomicsSettings()
    peers: tuple[PeerSettings, ...] = Field(default=(), strict=False)
    rules: tuple[RuleSettings, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _nodes_share(self) -> Settings:
        if self.node.name and (self.database.url == "sqlite" or self.broker.url == "embedded"):
            raise ValueError("@node.name@is for several nodes on one PostgreSQL (database.url) and Redis (broker.url)")
        return self

    @model_validator(mode="after")
    def _entries_fit_together(self) -> Settings:
        for kind, entries in (("peers", self.peers), ("rules", self.rules)):
            names = [entry.name for entry in entries]
            for index, name in enumerate(names):
                if name in names[:index]:
                    raise ValueError(f"@{kind}.{index}.name@two {kind} are named {name!r}; give each a name of its own")
        for index, peer in enumerate(self.peers):
            self._check_relay(index, peer)
            if peer.commitment == "archive" and peer.commitment_days is None:
                raise ValueError(
                    f"@peers.{index}.commitment_days@is missing; modalities delete what was committed, so say for how "
                    "many days we keep it"
                )
            self._check_tls(index, peer)
        if (self.tls.certificate is None) != (self.tls.key is None):
            missing = "key" if self.tls.key is None else "certificate"
            raise ValueError(f"@tls.{missing}@is missing; a certificate and its key belong together")
        known = [peer.name for peer in self.peers]
        asked = [peer.name for peer in self.peers if peer.kind == "dicom"]
        for index, peer in enumerate(self.peers):
            _check_count(index, peer, asked)
        for index, rule in enumerate(self.rules):
            named = [("send_to", name) for name in rule.send_to]
            for key, destination in named + [("on_no_result", name) for name in rule.on_no_result or ()]:
                if destination not in known:
                    listed = ", ".join(known) or "none"
                    raise ValueError(f"@rules.{index}.{key}@no peer is named {destination!r} (known: {listed})")
        return self

    def _check_relay(self, index: int, peer: PeerSettings) -> None:
        archive = self.peer(peer.relay_to)
        if peer.commitment != "relay":
            if peer.relay_to:
                raise ValueError(f"@peers.{index}.relay_to@goes with commitment = 'relay' alone")
            return
        if archive is None:
            told = f"no peer is named {peer.relay_to!r}" if peer.relay_to else "is missing"
            raise ValueError(f"@peers.{index}.relay_to@{told}; name the archive whose commitment is waited for")
        if archive.verify != "commitment":
            raise ValueError(
                f"@peers.{index}.relay_to@{archive.name!r} is not asked for commitment, so there is none to pass on; "
                "set verify = 'commitment' in its entry"
            )
        if not any(rule.model is None and archive.name in rule.send_to for rule in self.rules):
            raise ValueError(
                f"@peers.{index}.relay_to@nothing is sent on to {archive.name!r}; add a rule without a model that "
                "has it in send_to"
            )

    def _check_tls(self, index: int, peer: PeerSettings) -> None:
        if peer.certificate and not peer.tls:
            raise ValueError(f"@peers.{index}.certificate@nobody shows a certificate without TLS; set tls = true")
        if peer.tls and peer.receive and self.tls.certificate is None:
            raise ValueError(
                f"@peers.{index}.tls@to send to us it must use TLS: set [tls] certificate and key, or receive = false"
            )
        if peer.certificate and peer.receive and self.tls.client_certificates == "none":
            raise ValueError(
                f"@peers.{index}.certificate@is never asked for, since tls.client_certificates is 'none'; "
                "set it to 'required'"
            )

    def peer(self, name: str) -> PeerSettings | None:
        """The peer of that name, or None."""
        return next((peer for peer in self.peers if peer.name == name), None)

    def rule(self, name: str) -> RuleSettings | None:
        """The rule of that name, or None."""
        return next((rule for rule in self.rules if rule.name == name), None)


@dataclass(frozen=True, slots=True)
class Source:
    """The text settings came from, to say where a key stands."""

    file: Path | None
    text: str

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """The line (1-based) on which the key of ``path`` (e.g. ``("rules", 1, "all", 0)``) is set."""
        return line_of(self.text, path)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings with the source they were read from."""

    settings: Settings
    source: Source

    def error(self, path: Sequence[str | int], message: str, *, remedy: str = "") -> ConfigurationError:
        """An error about one key, with its place."""
        return ConfigurationError(
            message, file=self.source.file, line=self.source.line_of(path), key=key_text(path), remedy=remedy
        )


def load(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Configuration:
    """Read ``file`` (default: ``dicom-node.toml`` here, or nothing) and the environment.

    Relative paths in the file count from its folder.

    Raises:
        ConfigurationError: with file, line and key.
    """
    environment = os.environ if environment is None else environment
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    text = _read(file) if file else ""
    source = Source(file.resolve() if file else None, text)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        raise ConfigurationError(f"not TOML: {error}", file=file, line=int(at[1]) if at else None) from error
    override(tree, environment)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, source) from error
    return Configuration(_anchored(settings, (file.resolve().parent if file else Path.cwd())), source)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigurationError("there is no such file", file=file, remedy="make one with: dicom-node init") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot be read: {error}", file=file) from error


def _anchored(settings: Settings, folder: Path) -> Settings:
    data_dir = (folder / settings.node.data_dir.expanduser()).resolve()
    folders = tuple((folder / path.expanduser()).resolve() for path in settings.models.folders)
    files = {name: getattr(settings.tls, name) for name in ("certificate", "key", "ca")}
    anchored = {name: file and (folder / file.expanduser()).resolve() for name, file in files.items()}
    peers = tuple(peer.anchored(folder) for peer in settings.peers)
    return settings.model_copy(
        update={
            "node": settings.node.model_copy(update={"data_dir": data_dir}),
            "tls": settings.tls.model_copy(update=anchored),
            "models": settings.models.model_copy(update={"folders": folders}),
            "ehr": settings.ehr.anchored(folder),
            "genomics": settings.genomics.anchored(folder),
            "peers": peers,
        }
    )


def _explain(error: ValidationError, source: Source) -> ConfigurationError:
    # A misspelt key is unknown and leaves another one missing: the first is what to tell.
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    path: list[str | int] = [part for part in first["loc"] if isinstance(part, str | int)]
    message = str(first["msg"]).removeprefix("Value error, ")
    marked = re.match(r"@([^@]+)@(.*)", message, re.DOTALL)
    if marked:
        path += [int(part) if part.isdigit() else part for part in marked[1].split(".")]
        message = marked[2]
    elif first["type"] == "extra_forbidden":
        message = f"unknown key {path[-1]!r}; known here: {', '.join(_known_keys(path))}"
    elif first["type"] == "missing":
        message = "is missing"
    else:
        message = f"{message}, not {first['input']!r}"
    return ConfigurationError(message, file=source.file, line=source.line_of(path), key=key_text(path))


def _known_keys(path: Sequence[str | int]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in path[:-1]:
        if isinstance(part, int):
            continue
        annotation: Any = model.model_fields[part].annotation
        inner = getattr(annotation, "__args__", (annotation,))[0]
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
