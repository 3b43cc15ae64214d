"""Asks a peer how it has some images: in which study, of which patient, under which order (C-FIND, PS3.4 C.4.1)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset

from dicom_node.dimse.associate import NO_FILES, Association
from dicom_node.dimse.connect import name
from dicom_node.dimse.find import DAMAGE, FIND, ask
from dicom_node.domain.record import StudyRecord, gather
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, TlsSettings

_OF_STUDY = ("PatientID", "IssuerOfPatientID", "AccessionNumber")
_HIERARCHICAL = ("status", "too-many")  # how a peer answers a relational query that it does not offer


def study_records(
    peer: PeerSettings,
    calling_ae: str,
    study_uid: str,
    images: Mapping[str, Sequence[str]],
    within_s: float,
    *,
    tls: TlsSettings = NO_FILES,
) -> tuple[StudyRecord, ...]:
    """As :func:`~dicom_node.domain.record.gather`, over one association.

    It takes ``within_s`` seconds at most, and one wait more.

    Raises:
        PeerError: the peer cannot be asked, answers with a failure, or with what was not asked for.
    """
    until = time.monotonic() + within_s
    with Association(peer, calling_ae, [FIND], timeout_s=within_s, tls=tls) as association:
        return gather(_Queries(association, peer, until), study_uid, images)


class _Queries:
    """Over one association, until a time."""

    def __init__(self, association: Association, peer: PeerSettings, until: float) -> None:
        self._association = association
        self._peer = peer
        self._until = until

    def studies(self, study_uid: str) -> list[StudyRecord]:
        matches = self._ask("STUDY", StudyInstanceUID=study_uid, **dict.fromkeys(_OF_STUDY, ""))
        records = [
            StudyRecord(
                study_uid, _text(match, "PatientID"), _text(match, "IssuerOfPatientID"), _text(match, "AccessionNumber")
            )
            for match in matches
            if _text(match, "StudyInstanceUID") == study_uid
        ]
        if matches and not records:
            raise PeerError(f"{name(self._peer)}: it answers with other studies than it was asked for", reason="status")
        return list(dict.fromkeys(records))

    def images(self, study_uid: str, series_uid: str) -> list[str]:
        matches = self._ask("IMAGE", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, SOPInstanceUID="")
        inside = [match for match in matches if _text(match, "StudyInstanceUID") in ("", study_uid)]
        return [_text(match, "SOPInstanceUID") for match in inside]

    def places(self, sop_uid: str) -> list[tuple[str, str]]:
        try:
            # A relational query, which a peer need not answer.
            matches = self._ask("IMAGE", StudyInstanceUID="", SeriesInstanceUID="", SOPInstanceUID=sop_uid)
        except PeerError as error:
            if error.reason in _HIERARCHICAL:
                return []
            raise
        found = [match for match in matches if _text(match, "SOPInstanceUID") == sop_uid]
        return [(_text(match, "StudyInstanceUID"), _text(match, "SeriesInstanceUID")) for match in found]

    def _ask(self, level: str, **keys: str) -> list[Dataset]:
        query = Dataset()
        query.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        return ask(self._association, self._peer, FIND, query, "C-FIND (Study Root)", self._until)


def _text(match: Dataset, keyword: str) -> str:
    """A value of an answer; empty where it is absent, or cannot be read."""
    try:
        value = match.get(keyword)
        return "" if value is None else str(value).strip(" \0")
    except DAMAGE:
        return ""
