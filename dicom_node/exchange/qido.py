"""Asks a DICOMweb server which objects it has (QIDO-RS, PS3.18 10.6), and whether it is there at all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx

from dicom_node.domain.record import StudyRecord, gather
from dicom_node.errors import PeerError
from dicom_node.exchange.web_client import DICOM_JSON, answered, fault, json_of
from dicom_node.settings import PeerSettings

_SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID = "00080018", "0020000D", "0020000E"
_PATIENT_ID, _ISSUER, _ACCESSION_NUMBER = _OF_STUDY = ("00100020", "00100021", "00080050")
_NOT_SEARCHED = (
    "context-refused",
    "status",
    "object-refused",
    "peer-failure",
)  # answers of a server without /instances
_MOST_PAGES = 1000
_NOBODY = "2.25.0"  # a Study Instance UID that no study has


def instances_held(
    client: httpx.Client, peer: PeerSettings, study_uid: str, series_uids: Iterable[str]
) -> frozenset[str]:
    """SOP Instance UIDs that the server has in these series of a study.

    Raises:
        PeerError: it cannot be asked, or cannot tell.
    """
    held: set[str] = set()
    for series_uid in series_uids:
        place = f"{peer.url.rstrip('/')}/studies/{study_uid}/series/{series_uid}/instances"
        for _ in range(_MOST_PAGES):
            page = _page(client, peer, place, len(held))
            if page <= held:
                break
            held |= page
    return frozenset(held)


def study_records(
    client: httpx.Client, peer: PeerSettings, study_uid: str, images: Mapping[str, Sequence[str]], within_s: float
) -> tuple[StudyRecord, ...]:
    """As :func:`~dicom_node.domain.record.gather`.

    It takes ``within_s`` seconds at most, and one wait of that length more.

    Raises:
        PeerError: the server cannot be asked, or answers with what was not asked for.
    """
    return gather(_Searches(client, peer, within_s), study_uid, images)


class _Searches:
    """Searches of one server, until a time."""

    def __init__(self, client: httpx.Client, peer: PeerSettings, within_s: float) -> None:
        self._client = client
        self._peer = peer
        self._root = peer.url.rstrip("/")
        self._within_s = within_s
        self._until = time.monotonic() + within_s

    def studies(self, study_uid: str) -> list[StudyRecord]:
        keys = {"StudyInstanceUID": study_uid, "includefield": ",".join(_OF_STUDY)}
        matches = self._all(f"{self._root}/studies", keys)
        records = [
            StudyRecord(study_uid, _value(match, _PATIENT_ID), _value(match, _ISSUER), _value(match, _ACCESSION_NUMBER))
            for match in matches
            if _value(match, _STUDY_INSTANCE_UID) == study_uid
        ]
        if matches and not records:
            raise PeerError(f"{self._peer.name}: it answers with other studies than it was asked for", reason="status")
        return list(dict.fromkeys(records))

    def images(self, study_uid: str, series_uid: str) -> list[str]:
        place = f"{self._root}/studies/{study_uid}/series/{series_uid}/instances"
        return [_value(match, _SOP_INSTANCE_UID) for match in self._all(place, {})]

    def places(self, sop_uid: str) -> list[tuple[str, str]]:
        try:
            matches = self._all(f"{self._root}/instances", {"SOPInstanceUID": sop_uid})
        except PeerError as error:
            if error.reason in _NOT_SEARCHED:
                return []
            raise
        found = [match for match in matches if _value(match, _SOP_INSTANCE_UID) == sop_uid]
        return [(_value(match, _STUDY_INSTANCE_UID), _value(match, _SERIES_INSTANCE_UID)) for match in found]

    def _all(self, place: str, keys: Mapping[str, str]) -> list[Any]:
        """All matches of a search, page by page."""
        found: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            page = _search(self._client, self._peer, place, keys, len(found), self._within_s)
            fresh = {json.dumps(match, sort_keys=True): match for match in page}
            if fresh.keys() <= found.keys():
                break
            if time.monotonic() > self._until:
                raise PeerError(f"{self._peer.name}: its answer to QIDO-RS does not end in time", reason="stalled")
            found |= fresh
        return list(found.values())


def echo(client: httpx.Client, peer: PeerSettings) -> float:
    """Whether the server answers a search, or at least knows the resource; seconds until it does.

    Raises:
        PeerError: it does not answer, or refuses; the message says what.
    """
    started = time.perf_counter()
    place = f"{peer.url.rstrip('/')}/studies"
    with answered(peer):
        response = client.get(place, params={"StudyInstanceUID": _NOBODY}, headers={"Accept": DICOM_JSON})
    if response.status_code not in (200, 204, 405):  # 405: it stores, and answers no search
        raise fault(peer, response)
    return time.perf_counter() - started


def _page(client: httpx.Client, peer: PeerSettings, place: str, offset: int) -> set[str]:
    matches = _search(client, peer, place, {"includefield": _SOP_INSTANCE_UID}, offset)
    return {uid for match in matches if (uid := _value(match, _SOP_INSTANCE_UID))}


def _search(
    client: httpx.Client,
    peer: PeerSettings,
    place: str,
    keys: Mapping[str, str],
    offset: int,
    within_s: float | None = None,
) -> list[Any]:
    """One page of a search."""
    params = {**keys, **({"offset": str(offset)} if offset else {})}
    timeout = httpx.USE_CLIENT_DEFAULT if within_s is None else httpx.Timeout(within_s)
    with answered(peer):
        response = client.get(place, params=params, headers={"Accept": DICOM_JSON}, timeout=timeout)
    if response.status_code == 204:
        return []
    if response.status_code == 404 and _searches(client, peer):
        return []  # no such study
    if response.status_code != 200:
        told = fault(peer, response)
        reason = "context-refused" if told.reason == "wrong-url" else told.reason
        raise PeerError(f"{told.message} for QIDO-RS", reason=reason, remedy=told.remedy)
    found = json_of(response)
    if not isinstance(found, list):
        raise PeerError(f"{peer.name}: its answer to QIDO-RS cannot be read", reason="status")
    return found


def _searches(client: httpx.Client, peer: PeerSettings) -> bool:
    with answered(peer):
        response = client.get(
            f"{peer.url.rstrip('/')}/studies", params={"StudyInstanceUID": _NOBODY}, headers={"Accept": DICOM_JSON}
        )
    return response.status_code in (200, 204)


def _value(match: object, tag: str) -> str:
    """The first value of an attribute in the JSON model (PS3.18 F.2); empty where it is absent or no text."""
    try:
        value = match[tag]["Value"][0]  # type: ignore[index]
    except (KeyError, IndexError, TypeError):
        return ""
    return str(value).strip() if isinstance(value, str | int) else ""
