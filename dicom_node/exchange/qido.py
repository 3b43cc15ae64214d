"""Asks a DICOMweb server which objects it has (QIDO-RS, PS3.18 10.6), and whether it is there at all."""

from __future__ import annotations

import time
from collections.abc import Iterable

import httpx

from dicom_node.errors import PeerError
from dicom_node.exchange.web_client import DICOM_JSON, answered, fault, json_of
from dicom_node.settings import PeerSettings

_SOP_INSTANCE_UID = "00080018"
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
    params = {"includefield": _SOP_INSTANCE_UID} | ({"offset": str(offset)} if offset else {})
    with answered(peer):
        response = client.get(place, params=params, headers={"Accept": DICOM_JSON})
    if response.status_code == 204:
        return set()
    if response.status_code == 404 and _searches(client, peer):
        return set()  # no such study
    if response.status_code != 200:
        told = fault(peer, response)
        reason = "context-refused" if told.reason == "wrong-url" else told.reason
        raise PeerError(f"{told.message} for QIDO-RS", reason=reason, remedy=told.remedy)
    found = json_of(response)
    if not isinstance(found, list):
        raise PeerError(f"{peer.name}: its answer to QIDO-RS cannot be read", reason="status")
    return {uid for match in found if (uid := _uid(match))}


def _searches(client: httpx.Client, peer: PeerSettings) -> bool:
    with answered(peer):
        response = client.get(
            f"{peer.url.rstrip('/')}/studies", params={"StudyInstanceUID": _NOBODY}, headers={"Accept": DICOM_JSON}
        )
    return response.status_code in (200, 204)


def _uid(match: object) -> str:
    try:
        return str(match[_SOP_INSTANCE_UID]["Value"][0])  # type: ignore[index]
    except (KeyError, IndexError, TypeError):
        return ""
