"""WADO-RS: objects, their metadata, their bulk data (PS3.18 10.4)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastapi import HTTPException, Request, Response
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dicom_node.archive.dicom_json import bulk_of, with_base
from dicom_node.archive.frames import pixels_of
from dicom_node.archive.holdings import Held, Holdings
from dicom_node.archive.models import Models
from dicom_node.archive.outgoing import OutgoingFile
from dicom_node.archive.receipt import file_meta
from dicom_node.dimse.reencode import LARGEST, data_set_in
from dicom_node.domain.sending import OutgoingObject
from dicom_node.errors import HeaderError, InputError, NotDicomError
from dicom_node.web.dicomweb import answers, xml
from dicom_node.web.dicomweb.answers import Part
from dicom_node.web.dicomweb.negotiation import (
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    EXPLICIT,
    JSON,
    MEDIA_TYPE_OF,
    OCTETS,
    Offer,
    choose,
    refusal,
)

log = logging.getLogger(__name__)

_UID = re.compile(r"[0-9.]{1,64}")
_WHERE = re.compile(r"[0-9A-Fa-f]{8}(/[0-9]{1,9}/[0-9A-Fa-f]{8}){0,16}")
UNREADABLE = (InputError, OSError)
_GONE = "the files of these objects are gone or damaged; dicom-node check --deep names lost files"
_NATIVE = ("1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Answers requests for what the archive holds."""

    holdings: Holdings
    models: Models

    def found(self, study_uid: str, series_uid: str = "", sop_uid: str = "") -> list[Held]:
        """The objects that an address names.

        Raises:
            HTTPException: 400, that is no address; 404, there is nothing there.
        """
        for uid in (study_uid, series_uid, sop_uid):
            if uid and not _UID.fullmatch(uid):
                raise HTTPException(400, f"{uid[:80]!r} is no UID")
        held = self.holdings.objects(study_uid, series_uid, sop_uid)
        if not held:
            what = "instance" if sop_uid else "series" if series_uid else "study"
            raise HTTPException(
                404, f"no such {what} is here, or it does not count any more: {sop_uid or series_uid or study_uid}"
            )
        return held

    def objects(self, request: Request, held: Sequence[Held]) -> Response:
        """Part 10 files, one part each; an instance alone also without parts."""
        ranges, lone = answers.wanted(request), len(held) == 1
        if not ranges and request.headers.get("accept"):
            raise HTTPException(406, refusal(ranges, _offers(held[0], lone=lone)))
        chosen = [(each, choose(ranges, _offers(each, lone=lone))) for each in held]
        given = [(each, offer) for each, offer in chosen if offer is not None]
        if not given:
            raise HTTPException(
                406, refusal(ranges, [offer for each in held[:20] for offer in _offers(each, lone=lone)])
            )
        base = answers.base_of(request)
        if lone:
            return self._lone(base, *given[0])
        known = [part for each, offer in given if (part := self._beforehand(base, each, offer)) is not None]
        if not known:
            raise HTTPException(410, _GONE)
        decoded = {_place(base, each): (each, offer) for each, offer in given if not offer.stored}
        parts = (self._decoded(base, *decoded[part.location]) if part.location in decoded else part for part in known)
        return answers.multipart(DICOM, parts, 200 if len(known) == len(held) else 206, sizes=known)

    def metadata(self, request: Request, held: Sequence[Held]) -> Response:
        """The data sets without bulk data, as JSON or XML."""
        offers = [Offer(DICOM_JSON, False), Offer(JSON, False), Offer(DICOM_XML, True)]
        offer = answers.negotiated(request, offers)
        base = answers.base_of(request)
        there, texts = [], []
        for each in held:
            try:
                texts.append(with_base(self.models.text(each.path), _place(base, each)))
                there.append(each)
            except UNREADABLE:
                continue
        if not there:
            raise HTTPException(410, _GONE)
        status = 200 if len(there) == len(held) else 206
        if offer.media_type != DICOM_XML:
            return Response(b"[" + b",".join(texts) + b"]", status, media_type=offer.media_type)
        return answers.multipart(DICOM_XML, self._documents(base, there), status)

    def bulk(self, request: Request, held: Held, where: str) -> Response:
        """One binary value. Of compressed pixel data each frame is a part."""
        if not _WHERE.fullmatch(where):
            raise HTTPException(400, f"{where[:80]!r} is no way to a value, such as 7FE00010 or 54000100/1/54001010")
        path = self.models.store.absolute(held.path)
        location = f"{_place(answers.base_of(request), held)}/bulkdata/{where}"
        try:
            if where.upper() == "7FE00010" and held.transfer_syntax not in _NATIVE:
                return self._compressed(request, held)
            with bulk_of(path, where.upper()) as found:
                size = found.end - found.start
        except HeaderError as error:
            raise HTTPException(404, error.message) from error
        except (NotDicomError, OSError) as error:
            raise HTTPException(410, f"the file cannot be read: {error}") from error
        offer = answers.negotiated(request, [Offer(OCTETS, True), Offer(OCTETS, False)])

        def pieces() -> Iterator[bytes]:
            with bulk_of(path, where.upper()) as value:
                yield from value.pieces(answers.PIECE)

        part = Part(OCTETS, pieces(), location, size)
        return answers.multipart(OCTETS, [part], sizes=[part]) if offer.multipart else answers.single(part)

    def _compressed(self, request: Request, held: Held) -> Response:
        media_type = MEDIA_TYPE_OF.get(held.transfer_syntax, OCTETS)
        offers = [Offer(media_type, True, held.transfer_syntax, stored=True), Offer(OCTETS, True)]
        offer = answers.negotiated(request, offers)
        path = self.models.store.absolute(held.path)
        base = _place(answers.base_of(request), held)

        def parts() -> Iterator[Part]:
            with pixels_of(path) as pixels:
                for number in range(1, pixels.frames + 1):
                    kind = f"{offer.media_type}; transfer-syntax={held.transfer_syntax}"
                    yield Part(kind, [pixels.stored(number)], f"{base}/frames/{number}")

        return answers.multipart(offer.media_type, parts())

    def _documents(self, base: str, held: Sequence[Held]) -> Iterator[Part]:
        for each in held:
            model = self.models.model(each.path)
            place = _place(base, each)
            yield Part(DICOM_XML, [xml.native(_absolute(model, f"{place}/bulkdata/"))], f"{place}/metadata")

    def _lone(self, base: str, held: Held, offer: Offer) -> Response:
        try:
            part = self._part(base, held, offer)
        except InputError as error:
            raise HTTPException(406, f"{error.message}. It may be had as stored: transfer-syntax=*") from error
        except OSError as error:
            raise HTTPException(410, _GONE) from error
        return answers.multipart(DICOM, [part], sizes=[part]) if offer.multipart else answers.single(part)

    def _part(self, base: str, held: Held, offer: Offer) -> Part:
        """An object in the transfer syntax of the offer.

        Raises:
            InputError, OSError: its file is gone, damaged, or cannot be decoded.
        """
        kind, place = f"{DICOM}; transfer-syntax={offer.syntax}", _place(base, held)
        if offer.stored:
            stored = OutgoingFile(self._outgoing(held))
            return Part(kind, stored, place, stored.size)
        file = data_set_in(EXPLICIT, self.models.store.absolute(held.path))
        head = file_meta(held.sop_class.encode("ascii"), held.sop_uid.encode("ascii"), EXPLICIT)
        size = file.seek(0, 2) + len(head)
        file.seek(0)

        def pieces() -> Iterator[bytes]:
            with file:
                yield head
                while piece := file.read(answers.PIECE):
                    yield piece

        return Part(kind, pieces(), place, size)

    def _decoded(self, base: str, held: Held, offer: Offer) -> Part:
        """An object decoded while the answer is under way: one that cannot be is given as stored, and named so."""
        try:
            return self._part(base, held, offer)
        except InputError as error:
            log.warning("%s is given as it is stored: %s", held.path, error.message)
            return self._part(base, held, Offer(DICOM, True, held.transfer_syntax, stored=True))

    def _beforehand(self, base: str, held: Held, offer: Offer) -> Part | None:
        """What is known of a part before it is sent, of one that is to be decoded not its size; None: it is gone."""
        try:
            if offer.stored:
                return self._part(base, held, offer)
            OutgoingFile(self._outgoing(held))
        except UNREADABLE:
            return None
        return Part(f"{DICOM}; transfer-syntax={offer.syntax}", (), _place(base, held))

    def _outgoing(self, held: Held) -> OutgoingObject:
        return OutgoingObject(self.models.store.absolute(held.path), held.sop_class, held.sop_uid, held.transfer_syntax)


def can_decode(syntax: str) -> bool:
    """Whether what stands in a transfer syntax can be given uncompressed here."""
    if syntax in _NATIVE:
        return True
    try:
        return get_decoder(UID(syntax)).is_available
    except NotImplementedError:
        return False


def _offers(held: Held, *, lone: bool) -> list[Offer]:
    """Ways to give an object; the first one is the default of the standard (PS3.18 8.7.3.5.2)."""
    found = []
    for multipart in (True, False) if lone else (True,):
        if held.transfer_syntax != EXPLICIT and can_decode(held.transfer_syntax) and held.size <= LARGEST:
            found.append(Offer(DICOM, multipart, EXPLICIT))
        found.append(Offer(DICOM, multipart, held.transfer_syntax, stored=True))
    return found


def _place(base: str, held: Held) -> str:
    return f"{base}/studies/{held.study_uid}/series/{held.series_uid}/instances/{held.sop_uid}"


def _absolute(model: dict[str, object], base: str) -> dict[str, object]:
    """A model whose BulkDataURIs are absolute."""
    found: dict[str, object] = {}
    for tag, value in model.items():
        if isinstance(value, dict) and "BulkDataURI" in value:
            value = {**value, "BulkDataURI": base + value["BulkDataURI"]}
        elif isinstance(value, dict) and value.get("vr") == "SQ":
            value = {**value, "Value": [_absolute(item, base) for item in value.get("Value", ())]}
        found[tag] = value
    return found
