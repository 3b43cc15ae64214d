"""STOW-RS: the Store transaction of DICOMweb (PS3.18 10.5), as far as it does not depend on a web framework.

The body is read as it arrives, each part goes straight to a file of the store, and an instance is answered as
stored only once it is durable.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dicom_node.archive.files import ObjectStore, SegmentWriter
from dicom_node.domain.identifiers import is_valid_uid
from dicom_node.errors import InputError
from dicom_node.reception.hints import Hints
from dicom_node.reception.multipart import (
    Event,
    MediaType,
    MultipartError,
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
)
from dicom_node.reception.store import too_full
from dicom_node.reception.upload import Identity, Sender, Upload
from dicom_node.settings import Settings

LOGGER = logging.getLogger(__name__)

ACCEPTOR = "stow"  # its folder in the file store
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
LARGEST_REQUEST = 1 << 36  # bytes
MOST_PARTS = 100_000  # of one request; each one takes some bytes of the answer

# Failure Reason (0008,1197), PS3.18 10.5.3; of Cxxx the last three digits are ours.
OUT_OF_RESOURCES = 0xA700
SOP_CLASS_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
OTHER_STUDY = 0xC001
_REASONS = {"sop-class-mismatch": SOP_CLASS_MISMATCH, "other-study": OTHER_STUDY, "too-large": OUT_OF_RESOURCES}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered: an HTTP status and a body of ``media_type``."""

    status: int
    body: bytes
    media_type: str = DICOM_JSON


@dataclass(frozen=True, slots=True)
class StowRequest:
    """A Store request, but for its body."""

    content_type: str
    accept: str  # the Accept header, empty where there is none
    study_uid: str  # of the address, empty where it names none
    client: str  # its network address
    content_encoding: str = ""
    content_length: int | None = None  # bytes
    base: str = ""  # where DICOMweb is served, as the client wrote it: of Retrieve URLs


@dataclass(slots=True)
class _Outcome:
    """What became of the parts of a request."""

    stored: list[Identity] = field(default_factory=list)
    failed: list[tuple[Identity, int]] = field(default_factory=list)  # with the Failure Reason
    trouble: str = ""  # why the body could not be read to its end

    def status(self) -> int:
        """PS3.18 Table 10.5.3-1."""
        if not self.failed and not self.trouble:
            return 200 if self.stored else 400
        if self.stored:
            return 202
        if self.trouble:
            return 400
        return 503 if all(reason == OUT_OF_RESOURCES for _, reason in self.failed) else 409


class StowDoor:
    """Takes Store requests, from any thread of the one process that does."""

    def __init__(self, settings: Settings, *, largest_request: int = LARGEST_REQUEST) -> None:
        self._node = settings.node
        self._store = ObjectStore(settings.node.data_dir)
        self._largest = largest_request
        self._lock = threading.Lock()
        self._writer: SegmentWriter | None = None

    def store(self, request: StowRequest, body: Iterable[bytes]) -> Answer:
        """Store the instances of a request.

        ``body`` gives its bytes in pieces. Where it raises, what was complete by then is kept.

        Raises:
            ConfigurationError: the data directory cannot be written.
        """
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        sender = Sender(f"stow-rs from {request.client}", uuid.uuid4().hex, self._node.ae_title)
        hints = Hints(self._store.places.hints)
        taking = _Taking(self._segment_writer(), hints, sender, request.study_uid, self._node.maximum_object_bytes)
        try:
            taking.take(_parts(request.content_type, self._limited(body)))
        finally:
            taking.end()
            hints.close()
        outcome = taking.outcome
        LOGGER.info("%s: %d stored, %d refused", sender.door, len(outcome.stored), len(outcome.failed))
        if outcome.status() == 400:
            why = outcome.trouble or "the body holds no instance"
            return _error(413 if why == _TOO_LARGE else 400, "bad-request", why)
        return Answer(outcome.status(), json.dumps(_module(outcome, request.base)).encode("ascii"))

    def _refusal(self, request: StowRequest) -> Answer | None:
        """Why nothing of the request is taken."""
        media = MediaType.parse(request.content_type)
        if request.study_uid and not is_valid_uid(request.study_uid):
            return _error(400, "bad-uid", f"{request.study_uid[:80]!r} is no Study Instance UID")
        root = media.parameters.get("type", DICOM).lower()
        wanted = media.name == DICOM or (media.name == "multipart/related" and root == DICOM)
        if not wanted or request.content_encoding not in ("", "identity"):
            what = f'multipart/related; type="{DICOM}", not encoded'
            return _error(415, "media-type", f"this is taken: {what}; not {request.content_type[:120]!r}")
        if media.name != DICOM and not media.parameters.get("boundary"):
            return _error(400, "no-boundary", "the Content-Type names no boundary")
        if not _accepts_json(request.accept):
            return _error(406, "not-acceptable", f"the answer is {DICOM_JSON}")
        length = request.content_length or 0
        if length > self._largest:
            return _error(413, "too-large", _TOO_LARGE)
        why = too_full(self._segment_writer(), self._node, length)
        return _error(503, "no-space", why) if why else None

    def _segment_writer(self) -> SegmentWriter:
        with self._lock:
            if self._writer is None:
                self._writer = self._store.writer(ACCEPTOR)
            return self._writer

    def _limited(self, body: Iterable[bytes]) -> Iterator[bytes]:
        size = 0
        for piece in body:
            size += len(piece)
            if size > self._largest:
                raise MultipartError(_TOO_LARGE)
            yield piece


class _Taking:
    """Takes the parts of one request, one after the other."""

    def __init__(
        self, writer: SegmentWriter, hints: Hints, sender: Sender, study_uid: str, largest_object: int
    ) -> None:
        self._writer = writer
        self._largest = largest_object  # bytes
        self._hints = hints
        self._sender = sender
        self._study_uid = study_uid
        self._upload: Upload | None = None  # the part under way, as long as nothing speaks against it
        self._parts = 0
        self.outcome = _Outcome()

    def take(self, events: Iterator[Event]) -> None:
        """Follow the body to its end, or to where it breaks."""
        try:
            for event in events:
                if isinstance(event, PartBegin):
                    self._begin(event)
                elif isinstance(event, PartData):
                    self._attempt(self._write, event.data)
                else:
                    self._attempt(self._commit)
        except MultipartError as error:
            self.outcome.trouble = str(error)
            unread = self._upload or Upload(self._writer, self._sender, "the rest")
            self._fail(unread, CANNOT_UNDERSTAND, str(error))

    def end(self) -> None:
        """Leave nothing of a part that did not come whole; tell the node of the others."""
        if self._upload is not None:
            self._upload.discard()
        self._hints.association_ended(
            self._sender.upload,
            calling_ae=self._sender.calling_ae,
            called_ae=self._sender.called_ae,
            peer=self._sender.door,
            objects=len(self.outcome.stored),
            aborted=bool(self.outcome.trouble),
        )

    def _begin(self, part: PartBegin) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise MultipartError(f"more than {MOST_PARTS} parts")
        upload = Upload(self._writer, self._sender, f"part {self._parts}", self._study_uid)
        media = MediaType.parse(part.headers.get("content-type", DICOM))
        encoding = part.headers.get("content-transfer-encoding", "binary").lower()
        if media.name != DICOM or encoding not in ("binary", "8bit"):
            self._fail(upload, CANNOT_UNDERSTAND, f"it is {media.name}, {encoding}")
            return
        self._upload = upload

    def _attempt(self, act: Any, *arguments: Any) -> None:
        upload = self._upload
        if upload is None:
            return
        try:
            act(upload, *arguments)
        except InputError as error:
            self._fail(upload, _REASONS.get(error.reason, CANNOT_UNDERSTAND), error.message)
        except OSError as error:
            self._fail(upload, OUT_OF_RESOURCES, str(error))

    def _write(self, upload: Upload, data: bytes) -> None:
        if upload.size + len(data) > self._largest:
            raise InputError(f"it has more than {self._largest} bytes", reason="too-large")
        upload.write(data)

    def _commit(self, upload: Upload) -> None:
        upload.commit()
        self._upload = None
        self.outcome.stored.append(upload.identity)
        self._hints.stored()

    def _fail(self, upload: Upload, reason: int, why: str) -> None:
        upload.discard()
        self._upload = None
        self.outcome.failed.append((upload.identity, reason))
        LOGGER.warning("%s: part %d refused with 0x%04X: %s", self._sender.door, self._parts, reason, why)


_TOO_LARGE = "the request is larger than this server takes"


def _parts(content_type: str, body: Iterator[bytes]) -> Iterator[Event]:
    """The parts of a body; a body that is one instance is one part."""
    media = MediaType.parse(content_type)
    if media.name == DICOM:
        yield PartBegin({})
        for piece in body:
            yield PartData(piece)
        yield PartEnd()
        return
    reader = MultipartReader(media.parameters["boundary"])
    for piece in body:
        yield from reader.feed(piece)
    reader.close()


def _accepts_json(accept: str) -> bool:
    if not accept.strip():
        return True
    for offer in accept.split(","):
        media = MediaType.parse(offer.strip())
        if media.name in (DICOM_JSON, "application/json", "application/*", "*/*") and _weight(media) > 0:
            return True
    return False


def _weight(media: MediaType) -> float:
    try:
        return float(media.parameters.get("q", "1"))
    except ValueError:
        return 0.0


def _module(outcome: _Outcome, base: str) -> dict[str, Any]:
    """The Store Instances Response Module (PS3.18 10.5.3.2) in DICOM JSON (PS3.18 F.2).

    Retrieve URL of the whole is that of the study, and empty where instances of several were stored. What was stored is
    found there once the index has taken it in, some moments later.
    """
    studies = {found.study_uid for found in outcome.stored}
    whole = f"{base}/studies/{studies.pop()}" if base and len(studies) == 1 else ""
    module: dict[str, Any] = {"00081190": _address(whole)}
    named = [(found, reason) for found, reason in outcome.failed if found.sop_uid]
    if named:
        items = [{**_reference(found), "00081197": _number(reason)} for found, reason in named]
        module["00081198"] = {"vr": "SQ", "Value": items}
    if outcome.stored:
        items = [{**_reference(found), "00081190": _address(_place(found, base))} for found in outcome.stored]
        module["00081199"] = {"vr": "SQ", "Value": items}
    others = [{"00081197": _number(reason)} for found, reason in outcome.failed if not found.sop_uid]
    if others:
        module["0008119A"] = {"vr": "SQ", "Value": others}
    return module


def _reference(found: Identity) -> dict[str, Any]:
    return {"00081150": _uid(found.sop_class), "00081155": _uid(found.sop_uid)}


def _place(found: Identity, base: str) -> str:
    whole = base and found.study_uid and found.series_uid and found.sop_uid
    return f"{base}/studies/{found.study_uid}/series/{found.series_uid}/instances/{found.sop_uid}" if whole else ""


def _address(value: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [value]} if value else {"vr": "UR"}


def _uid(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]} if value else {"vr": "UI"}


def _number(value: int) -> dict[str, Any]:
    return {"vr": "US", "Value": [value]}


def _error(status: int, reason: str, message: str) -> Answer:
    told = {"error": {"reason": reason, "message": message, "remedy": ""}}
    return Answer(status, json.dumps(told).encode("utf-8"), "application/json")
