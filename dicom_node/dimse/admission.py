"""Whether a peer may open an association."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from dicom_node.settings import PeerSettings, Settings

PERMANENT, TRANSIENT = 1, 2
_SERVICE_USER, _PRESENTATION = 1, 3
_NO_REASON_GIVEN, _CALLING_TITLE, _CALLED_TITLE = 1, 3, 7  # of the service user
_CONGESTION, _LOCAL_LIMIT = 1, 2  # of the presentation service


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int  # 1 permanent, 2 transient
    source: int  # 1 service user, 2 ACSE, 3 presentation
    diagnostic: int
    reason: str  # the standard's words
    remedy: str  # what the administrator can do


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association, and how."""

    calling_ae: str
    called_ae: str
    address: str  # IP
    secured: bool = False  # over TLS
    has_certificate: Callable[[str], bool] = lambda wanted: not wanted  # whether it shows the one a peer is bound to


def admit(settings: Settings, caller: Caller) -> PeerSettings | Rejection | None:
    """The peer that calls, why it is rejected, or None for an unknown one that may send.

    AE titles compare without outer spaces. Where several peers share an AE title, the first whose entry fits is meant.
    """
    calling, called = caller.calling_ae.strip(), caller.called_ae.strip()
    own = settings.node.ae_title.strip()
    peers = [peer for peer in settings.peers if peer.ae_title.strip() == calling and peer.receives]
    if called != own and not any(called == title.strip() for peer in peers for title in peer.called_ae_titles):
        return Rejection(
            PERMANENT,
            _SERVICE_USER,
            _CALLED_TITLE,
            f"called AE title not recognized: {called!r}",
            f"let the peer call {own!r}, or set node.ae_title, or called_ae_titles of the peer",
        )
    if not peers:
        return _unknown(calling) if settings.node.unknown_peers == "reject" else None
    rejections = []
    for peer in peers:
        rejection = _misfit(peer, caller, own)
        if rejection is None:
            return peer
        rejections.append(rejection)
    return rejections[0]


def full(reason: str, remedy: str) -> Rejection:
    """The rejection of one more association when there is no room for it; the peer may try again later."""
    return Rejection(TRANSIENT, _PRESENTATION, _LOCAL_LIMIT, f"local limit exceeded: {reason}", remedy)


def congested() -> Rejection:
    """The rejection when the request cannot be judged."""
    return Rejection(TRANSIENT, _PRESENTATION, _CONGESTION, "temporary congestion", "see the error above in this log")


def _unknown(calling: str) -> Rejection:
    return Rejection(
        PERMANENT,
        _SERVICE_USER,
        _CALLING_TITLE,
        f"calling AE title not recognized: {calling!r}",
        'list it under [[peers]] with receive = true, or set node.unknown_peers = "accept"',
    )


def _misfit(peer: PeerSettings, caller: Caller, own: str) -> Rejection | None:
    called = caller.called_ae.strip()
    if called != own and called not in (title.strip() for title in peer.called_ae_titles):
        return Rejection(
            PERMANENT,
            _SERVICE_USER,
            _CALLED_TITLE,
            f"called AE title not recognized from {peer.name!r}: {called!r}",
            f"add it to called_ae_titles of peer {peer.name!r}",
        )
    if peer.addresses and not _within(caller.address, peer.addresses):
        return Rejection(
            PERMANENT,
            _SERVICE_USER,
            _CALLING_TITLE,
            f"calling AE title not recognized from {caller.address}: {peer.ae_title!r}",
            f"correct addresses of peer {peer.name!r}, if this is it",
        )
    if peer.tls and not caller.secured:
        return Rejection(
            PERMANENT,
            _SERVICE_USER,
            _NO_REASON_GIVEN,
            "no TLS",
            f"let the peer connect to tls.port over TLS, or set tls = false for peer {peer.name!r}",
        )
    if not caller.has_certificate(peer.certificate):
        return Rejection(
            PERMANENT,
            _SERVICE_USER,
            _NO_REASON_GIVEN,
            f"another certificate than {peer.certificate!r}",
            f"correct certificate of peer {peer.name!r}, if this is it",
        )
    return None


def _within(address: str, networks: tuple[str, ...]) -> bool:
    given = ipaddress.ip_address(address.split("%", 1)[0])
    mapped = given.ipv4_mapped if isinstance(given, ipaddress.IPv6Address) else None
    return any((mapped or given) in ipaddress.ip_network(network, strict=False) for network in networks)
