"""What people see of a parcel: where it stands, what its destination is, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from dicom_node.archive import plain
from dicom_node.delivery.opening import opens
from dicom_node.domain.parcel import Parcel, ParcelState
from dicom_node.settings import Settings


def outlooks(records: Iterable[Parcel], settings: Settings, now: datetime) -> list[dict[str, Any]]:
    """Plain data of parcels, with ``kind`` of the destination, empty when it is configured no more, and ``opens``:
    when its hours let a parcel go that is due, null when they do."""
    kinds = {peer.name: str(peer.kind) for peer in settings.peers}
    opening = {peer.name: opens(peer, now, settings.node.time_zone) for peer in settings.peers}
    return [
        {
            **plain.parcel(record),
            "kind": kinds.get(record.destination, ""),
            "opens": plain.time(opening.get(record.destination)) if record.state is ParcelState.DUE else None,
        }
        for record in records
    ]
