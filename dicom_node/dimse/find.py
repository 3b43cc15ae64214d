"""Asks a peer what it has: C-FIND in the Study Root information model (PS3.4 C.4.1)."""

from __future__ import annotations

import copy
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from dicom_node.dimse.associate import NO_FILES, Association, Proposal
from dicom_node.dimse.command import C_FIND_RQ
from dicom_node.dimse.connect import name
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, TlsSettings

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
FIND = Proposal(STUDY_ROOT_FIND, ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"))
_PENDING = (0xFF00, 0xFF01)
_MOST = 100_000  # matches; a peer that ignores the keys must not fill the memory
# What pydicom raises at bytes that are no data set.
DAMAGE = (
    *(ValueError, KeyError, TypeError, AttributeError, NotImplementedError, LookupError),
    *(struct.error, EOFError, RecursionError, OSError, BytesLengthException),
)


def find(
    peer: PeerSettings,
    calling_ae: str,
    identifier: Dataset,
    level: Literal["STUDY", "SERIES", "IMAGE"],
    timeout_s: float = 30.0,
    *,
    tls: TlsSettings = NO_FILES,
) -> list[Dataset]:
    """What the peer has that matches ``identifier``, one data set a match.

    Raises:
        PeerError: the peer cannot be asked, or answers with a failure.
    """
    query = copy.deepcopy(identifier)
    query.QueryRetrieveLevel = level
    with Association(peer, calling_ae, [FIND], timeout_s=timeout_s, tls=tls) as association:
        return _ask(association, peer, query)


def instances_held(
    peer: PeerSettings,
    calling_ae: str,
    study_uid: str,
    series_uids: Iterable[str],
    timeout_s: float = 30.0,
    *,
    tls: TlsSettings = NO_FILES,
) -> frozenset[str]:
    """SOP Instance UIDs that the peer has in these series of a study, asked over one association.

    Raises:
        PeerError: the peer cannot be asked, or answers with a failure.
    """
    held: set[str] = set()
    with Association(peer, calling_ae, [FIND], timeout_s=timeout_s, tls=tls) as association:
        for series_uid in series_uids:
            query = Dataset()
            query.QueryRetrieveLevel = "IMAGE"
            query.StudyInstanceUID = study_uid
            query.SeriesInstanceUID = series_uid
            query.SOPInstanceUID = ""
            held |= {str(match.get("SOPInstanceUID", "")) for match in _ask(association, peer, query)}
    return frozenset(held)


@dataclass(frozen=True, slots=True)
class Reported:
    """How many instances a peer says it has. None: it knows the study or series, and does not tell its number."""

    study: int | None  # Number of Study Related Instances (0020,1208)
    series: Mapping[str, int | None]  # Series Instance UID -> Number of Series Related Instances (0020,1209)
    known: bool  # whether the peer has the study at all


def images_reported(
    peer: PeerSettings, calling_ae: str, study_uid: str, timeout_s: float = 10.0, *, tls: TlsSettings = NO_FILES
) -> Reported:
    """How many instances of a study and of each of its series the peer has (PS3.4 C.3.4), over one association.

    Raises:
        PeerError: the peer cannot be asked, or answers with a failure.
    """
    study, series = Dataset(), Dataset()
    for level, query in (("STUDY", study), ("SERIES", series)):
        query.QueryRetrieveLevel = level
        query.StudyInstanceUID = study_uid
    study.NumberOfStudyRelatedInstances = None
    series.SeriesInstanceUID = ""
    series.NumberOfSeriesRelatedInstances = None
    with Association(peer, calling_ae, [FIND], timeout_s=timeout_s, tls=tls) as association:
        studies = [found for found in _ask(association, peer, study) if found.get("StudyInstanceUID") == study_uid]
        each = _ask(association, peer, series) if studies else []
    counts = {str(found.get("SeriesInstanceUID", "")): _number(found, 0x00201209) for found in each}
    return Reported(_number(studies[0], 0x00201208) if studies else None, counts, bool(studies))


def _number(found: Dataset, tag: int) -> int | None:
    """The value of an IS element; None where it is absent, empty or no number."""
    try:
        return int(found[tag].value)
    except (KeyError, TypeError, ValueError):
        return None


def ask(
    association: Association,
    peer: PeerSettings,
    proposal: Proposal,
    query: Dataset,
    what: str,
    until: float | None = None,
) -> list[Dataset]:
    """What the peer answers to a C-FIND over an open association; ``until``: time.monotonic() by when it must be whole.

    Raises:
        PeerError: the peer does not offer it, answers with a failure or with what is no data set, or not by then.
    """
    agreed = association.agreed(proposal)
    if agreed is None:
        why = association.refused(proposal)
        raise PeerError(f"{name(peer)}: {what} is not accepted ({why})", reason="context-refused")
    syntax = UID(agreed.transfer_syntax)
    encoded = encode(query, syntax.is_implicit_VR, syntax.is_little_endian)
    association.request(agreed.id, C_FIND_RQ, proposal.abstract_syntax, encoded)
    return _matches(association, peer, syntax, until)


def _ask(association: Association, peer: PeerSettings, query: Dataset) -> list[Dataset]:
    return ask(association, peer, FIND, query, "C-FIND (Study Root)")


def _matches(association: Association, peer: PeerSettings, syntax: UID, until: float | None) -> list[Dataset]:
    matches: list[Dataset] = []
    while True:
        answer, data = association.response()
        status = answer.number(0x0900)
        if until is not None and time.monotonic() > until:
            raise PeerError(f"{name(peer)}: its answer to C-FIND does not end in time", reason="stalled")
        if status in _PENDING and len(matches) < _MOST:
            try:
                matches.append(decode(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian))
            except DAMAGE as error:
                raise PeerError(f"{name(peer)}: its answer to C-FIND cannot be read", reason="status") from error
        elif status == 0:
            return matches
        elif status in _PENDING:
            raise PeerError(f"{name(peer)}: more than {_MOST} matches; narrow the query", reason="too-many")
        else:
            comment = answer.elements.get(0x0902, b"").strip(b"\0 ").decode("latin-1")
            raise PeerError(f"{name(peer)}: C-FIND answered 0x{status or 0:04X} {comment}".rstrip(), reason="status")
