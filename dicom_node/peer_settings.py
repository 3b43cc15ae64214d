"""Settings of one peer: who sends to us, and where results and received objects go.

A destination is of one ``kind``: a DICOM application entity (C-STORE), a DICOMweb server (STOW-RS) or a folder. Keys
that its kind does not know are refused, so that none is set in vain.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from dicom_node.domain.changes import Changes
from dicom_node.domain.hours import Hours
from dicom_node.domain.profile import PRESETS, Companion, Profile, companions_of

_AE_TITLE = r"[\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]*"
AETitle = Annotated[str, Field(min_length=1, max_length=16, pattern=f"^{_AE_TITLE}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=64)]

TOLD = ("fhir", "hl7")  # kinds that are told of results, instead of getting their objects

OnDifference = Literal["hold", "reissue", "send"]
OnGone = Literal["hold", "cancel", "send"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_FINGERPRINT = re.compile(r"sha256:([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")
_SUBJECT = re.compile(r"(CN|O|OU|C|L|ST)=[^,=]+(,\s*(CN|O|OU|C|L|ST)=[^,=]+)*")
_SECRET = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")


def _networks(addresses: tuple[str, ...]) -> tuple[str, ...]:
    for address in addresses:
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError as error:
            raise ValueError(f"{address!r} should be an address, or a network such as '10.0.0.0/24'") from error
    return addresses


Networks = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_networks)]


class Section(BaseModel):
    """A part of the settings: strict, frozen, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ChangeSettings(Section):
    """What a destination gets otherwise than we have it, by DICOM keyword."""

    set: dict[str, str] = Field(default_factory=dict)
    prefix: dict[str, str] = Field(default_factory=dict)
    remove: tuple[str, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _can_be_done(self) -> ChangeSettings:
        for key, what in self.changes.faults():
            raise ValueError(f"@{key}@{what}")
        return self

    @property
    def changes(self) -> Changes:
        """The same for the domain."""
        return Changes(self.set, self.prefix, self.remove)


class PeerSettings(Section):
    """A DICOM application entity we know, or another destination."""

    name: Name
    ae_title: Annotated[str, Field(max_length=16, pattern=f"^({_AE_TITLE})?$")] = ""
    host: str = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    clinical: bool = False  # true: results of research models are held back from it
    verify: Literal["commitment", "find", "none"] = "find"  # how it is asked whether it has what it took
    receive: bool = True  # whether it may send to us
    addresses: Networks = ()  # where it may call from; empty: anywhere
    called_ae_titles: tuple[AETitle, ...] = Field(default=(), strict=False)  # what it may call us beside node.ae_title
    tls: bool = False  # it is reached over TLS, and must use TLS itself
    certificate: str = ""  # "sha256:<fingerprint>" or parts of the subject that it must have
    sop_classes: tuple[str, ...] = Field(default=(), strict=False)  # UIDs it may send; empty: all
    maximum_associations: Annotated[int, Field(ge=1)] | None = None  # of it at the same time
    objects_per_second: Annotated[float, Field(gt=0)] | None = None  # it is slowed down to
    bytes_per_second: Annotated[int, Field(ge=1)] | None = None  # likewise
    commitment: Literal["off", "archive", "relay"] = "off"  # what its Storage Commitment requests are answered by
    commitment_days: Annotated[int, Field(ge=1)] | None = None  # how long "archive" keeps what was committed to
    count: Literal["none", "series", "study"] = "none"  # what of it is counted by C-FIND before it counts as whole
    count_at: str = ""  # name of the peer that is asked for the count; empty: itself
    kind: Literal["dicom", "dicomweb", "folder", "fhir", "hl7"] = "dicom"
    url: str = ""  # of a DICOMweb server, up to what stands before /studies; of a FHIR server, its base
    auth: Literal["none", "basic", "oauth2"] = "none"  # oauth2: the client credentials grant
    user: str = ""  # of basic; the client id of oauth2
    secret: str = ""  # where the password or client secret stands: "env:NAME" or "file:PATH"; never itself
    token_url: str = ""  # of oauth2
    scope: str = ""  # likewise
    ca: Annotated[Path, Field(strict=False)] | None = None  # PEM: who signs the server's certificate
    folder: Annotated[Path, Field(strict=False)] | None = None  # objects are written below it
    connections: Annotated[int, Field(ge=1, le=8)] = 1  # over which parcels are sent to it at the same time
    send_bytes_per_second: Annotated[int, Field(ge=1)] | None = None  # it is sent at most, over all of them
    send_hours: tuple[str, ...] = Field(default=(), strict=False)  # when it is sent to; empty: always
    stat_any_time: bool = False  # results of stat jobs do not wait for these hours
    change: ChangeSettings | None = None  # of what is sent to it
    relay_to: str = ""  # the peer whose commitment "relay" waits for
    relay_hours: Annotated[float, Field(gt=0)] = 24.0  # so long; then what is not committed to is refused
    worklist: bool = False  # it serves a modality worklist, which is asked how urgent orders are
    rejection_notes: bool = False  # it understands those of IHE IOCM, and gets them when a result is withdrawn
    check: bool | None = None  # its record of the images is asked before results are sent; None: unless verify = "none"
    on_difference: OnDifference = "hold"  # results of what it has under another study, patient or order now
    on_gone: OnGone = "hold"  # results of images that it had and has not any more
    on_silence: Literal["send", "hold"] = "send"  # results, when it cannot tell
    genomic: bool = False  # of a kind that is told: values of the genome, and what they change, go there too
    results: tuple[Profile | Companion, ...] = ()  # encodings it gets, in order, and what beside; empty: not said

    @model_validator(mode="before")
    @classmethod
    def _as_its_kind_can(cls, given: Any) -> Any:
        """HL7 v2 has no question for what a receiver has."""
        return {"verify": "none", **given} if isinstance(given, dict) and given.get("kind") == "hl7" else given

    @field_validator("results", mode="before")
    @classmethod
    def _are_profiles(cls, given: object) -> object:
        """Profiles in order and companions, or the name of a preset."""
        if isinstance(given, str):
            given = PRESETS.get(given, (given,))
        known: dict[object, Profile | Companion] = {str(each): each for each in (*Profile, *Companion)}
        if not isinstance(given, list | tuple) or not all(name in known for name in given):
            names = ", ".join(repr(str(each)) for each in Profile)
            beside = ", ".join(repr(str(each)) for each in Companion)
            presets = ", ".join(map(repr, PRESETS))
            raise ValueError(f"should be some of {names}, in order, and of {beside}, or one of {presets}")
        if len(set(given)) != len(given):
            raise ValueError("should name each encoding once")
        if given and not any(isinstance(known[name], Profile) for name in given):
            raise ValueError("should name an encoding of segments, too, such as 'binary': nothing else is a result")
        return tuple(known[name] for name in given)

    @field_validator("sop_classes")
    @classmethod
    def _are_uids(cls, uids: tuple[str, ...]) -> tuple[str, ...]:
        for uid in uids:
            if _UID.fullmatch(uid) is None:
                raise ValueError(f"{uid!r} should be a UID such as '1.2.840.10008.5.1.4.1.1.2'")
        return uids

    @field_validator("certificate")
    @classmethod
    def _is_fingerprint_or_subject(cls, text: str) -> str:
        fingerprint = text.startswith("sha256:")
        if text and not (_FINGERPRINT if fingerprint else _SUBJECT).fullmatch(text):
            raise ValueError("Input should be 'sha256:' and 64 hex digits, or a subject such as 'CN=ct1,O=Clinic'")
        return text

    @field_validator("send_hours")
    @classmethod
    def _are_hours(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        Hours.parse(texts)
        return texts

    @model_validator(mode="after")
    def _fits_its_kind(self) -> PeerSettings:
        for key, what in _misfits(self):
            raise ValueError(f"@{key}@{what}")
        return self

    def anchored(self, base: Path) -> PeerSettings:
        """With relative paths as they count from the folder ``base``."""
        update: dict[str, object] = {
            key: (base / path.expanduser()).resolve() for key in ("ca", "folder") if (path := getattr(self, key))
        }
        if self.secret.startswith("file:"):
            update["secret"] = f"file:{(base / Path(self.secret[5:]).expanduser()).resolve()}"
        return self.model_copy(update=update)

    @property
    def changes(self) -> Changes | None:
        """What it gets otherwise than we have it; None: all as it is."""
        return self.change.changes if self.change and self.change.changes.keywords else None

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The encodings it gets, in order; empty: not said."""
        return tuple(each for each in self.results if isinstance(each, Profile))

    @property
    def companions(self) -> tuple[Companion, ...]:
        """What it gets beside Segmentation and reports; whoever gets messages gets none."""
        return () if self.kind in ("fhir", "hl7") else companions_of(self.results)

    @property
    def is_checked(self) -> bool:
        """Whether it is asked how it has the images before results are sent to it."""
        return self.check if self.check is not None else self.verify != "none" and self.kind not in ("folder", *TOLD)

    @property
    def receives(self) -> bool:
        """Whether associations of it are accepted."""
        return self.receive and self.kind == "dicom"


_OF_KIND = {
    "dicom": frozenset(PeerSettings.model_fields)
    - {"url", "auth", "user", "secret", "token_url", "scope", "ca", "folder", "genomic"},
    "dicomweb": frozenset({"url", "auth", "user", "secret", "token_url", "scope", "ca"}),
    "folder": frozenset({"folder"}),
    "fhir": frozenset({"url", "auth", "user", "secret", "token_url", "scope", "ca", "genomic"}),
    "hl7": frozenset({"host", "port", "tls", "ca", "genomic"}),
}
_OF_ALL = frozenset(
    {
        "name",
        "kind",
        "clinical",
        "verify",
        "connections",
        "send_bytes_per_second",
        "send_hours",
        "stat_any_time",
        "change",
        "check",
        "on_difference",
        "on_gone",
        "on_silence",
        "results",
    }
)
_NEEDED = {
    "dicom": ("ae_title", "host", "port"),
    "dicomweb": ("url",),
    "folder": ("folder",),
    "fhir": ("url",),
    "hl7": ("host", "port"),
}


def _misfits(peer: PeerSettings) -> Iterator[tuple[str, str]]:
    """Keys that do not go together, with what is wrong; never with the value of one that may hold a secret."""
    known = _OF_KIND[peer.kind] | _OF_ALL
    for key in PeerSettings.model_fields:
        if key in peer.model_fields_set - known and getattr(peer, key) != PeerSettings.model_fields[key].default:
            others = " or ".join(repr(kind) for kind, keys in _OF_KIND.items() if key in keys)
            yield key, f"has no meaning for a peer of kind {peer.kind!r}, only of {others}"
    for key in _NEEDED[peer.kind]:
        if not getattr(peer, key):
            wrong = "should be greater than or equal to 1" if key == "port" else "should not be empty"
            yield key, wrong if key in peer.model_fields_set else f"is missing; a peer of kind {peer.kind!r} needs it"
    if peer.check and peer.kind in ("folder", *TOLD):
        yield "check", f"a peer of kind {peer.kind!r} has no record of studies that it could be asked about"
    if peer.kind == "hl7" and peer.verify != "none":
        yield "verify", "HL7 v2 has no question for what a receiver has; leave it out"
    if peer.change and peer.kind in TOLD:
        yield "change", f"a peer of kind {peer.kind!r} gets no objects that could be changed"
    if peer.verify == "commitment" and peer.kind != "dicom":
        yield "verify", "Storage Commitment is asked of peers of kind 'dicom' alone; use 'find' or 'none'"
    yield from _web_misfits(peer)


def _web_misfits(peer: PeerSettings) -> Iterator[tuple[str, str]]:
    for key, url in (("url", peer.url), ("token_url", peer.token_url)):
        if url and not _is_plain(url):
            yield key, "should be a URL such as 'https://pacs.example.org/dicom-web', without user, password or query"
    if peer.secret and not _SECRET.fullmatch(peer.secret):
        yield "secret", "should say where the secret stands: 'env:' and a variable, or 'file:' and a path"
    needed = {"none": (), "basic": ("user", "secret"), "oauth2": ("user", "secret", "token_url")}[peer.auth]
    for key in needed:
        if not getattr(peer, key):
            yield key, f"is missing; auth = {peer.auth!r} needs it"
    for key in ("user", "secret", "token_url", "scope"):
        if getattr(peer, key) and key not in needed and not (key == "scope" and peer.auth == "oauth2"):
            yield key, f"is not used with auth = {peer.auth!r}"


def _is_plain(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(
            parts.scheme in ("http", "https")
            and parts.hostname
            and (parts.port is None or parts.port > 0)
            and "@" not in parts.netloc
            and not parts.query
            and not parts.fragment
        )
    except ValueError:
        return False
