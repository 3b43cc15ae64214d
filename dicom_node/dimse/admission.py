"""Whether a peer may open an association."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.settings import Settings


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int  # 1 permanent, 2 transient
    source: int  # 1 service user, 2 ACSE, 3 presentation
    diagnostic: int
    reason: str  # the standard's words
    remedy: str  # what the administrator can do


def refusal(settings: Settings, calling_ae: str, called_ae: str) -> Rejection | None:
    """Why an association is rejected, or None when it is admitted. AE titles compare without outer spaces."""
    calling, called = calling_ae.strip(), called_ae.strip()
    if called != settings.node.ae_title.strip():
        return Rejection(
            1,
            1,
            7,
            f"called AE title not recognized: {called!r}",
            f"let the peer call {settings.node.ae_title!r}, or set node.ae_title",
        )
    peer = next((peer for peer in settings.peers if peer.ae_title.strip() == calling and peer.receive), None)
    if peer is None and settings.node.unknown_peers == "reject":
        return Rejection(
            1,
            1,
            3,
            f"calling AE title not recognized: {calling!r}",
            'list it under [[peers]] with receive = true, or set node.unknown_peers = "accept"',
        )
    return None
