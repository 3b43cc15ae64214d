"""Rows of the table of instances: one for each stored object, written hundreds at a time.

They go to the database's driver as they are: what the library takes for each value of a row is more than what SQLite
takes to write it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

from dicom_node.archive.schema import instance
from dicom_node.domain.grid import ImagePlane
from dicom_node.domain.study import Header, InstanceState, Origin

Row = dict[str, Any]

_PLAIN = (
    *("study_id", "series_id", "sop_uid", "sop_class", "revision", "state", "reason", "origin", "digest"),
    *("transfer_syntax", "frames", "instance_number", "path", "size", "peer", "calling_ae", "called_ae"),
    *("association", "site_id"),
)
_COLUMNS = (*_PLAIN, "received_at", "plane")
_plain = itemgetter(*_PLAIN)


def row_of(
    header: Header, path: str, *, study_id: int | None, series_id: int | None, state: InstanceState, origin: Origin
) -> Row:
    """The row of an object whose header was read, but for ``reason``, ``site_id`` and ``revision``."""
    number = header.attributes.get("InstanceNumber")
    return {
        "study_id": study_id,
        "series_id": series_id,
        "sop_uid": header.sop_instance_uid,
        "sop_class": header.sop_class_uid[:64],
        "state": str(state),
        "origin": str(origin),
        "digest": header.digest,
        "transfer_syntax": header.transfer_syntax_uid[:64],
        "plane": planes_text(header.planes),
        "frames": header.frames,
        "instance_number": int(number) if isinstance(number, float) and abs(number) < 2**31 else None,
        "path": path,
        "size": header.size,
        "peer": header.peer[:64],
        "calling_ae": header.calling_ae[:16],
        "called_ae": header.called_ae[:16],
        "association": header.association[:64],
        "received_at": header.received_at,
    }


def rejected_row(path: str, sop_uid: str, *, study_id: int | None, size: int, received_at: datetime) -> Row:
    """The row of an object that cannot be used, but for ``reason``, ``site_id`` and ``revision``."""
    unknown = ("sop_class", "digest", "transfer_syntax", "peer", "calling_ae", "called_ae", "association")
    row: Row = {"study_id": study_id, "series_id": None, "sop_uid": sop_uid, "instance_number": None}
    row |= dict.fromkeys(unknown, "")
    row |= {"state": InstanceState.REJECTED.value, "origin": Origin.ROUTED.value, "plane": planes_text(())}
    return row | {"frames": 0, "path": path, "size": size, "received_at": received_at}


def insert_rows(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows as the functions above make them."""
    if not rows:
        return
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    statement = f"INSERT INTO {instance.name} ({', '.join(_COLUMNS)}) VALUES ({', '.join([mark] * len(_COLUMNS))})"  # noqa: S608  our own names
    values = [(*_plain(row), row["received_at"].timestamp(), row["plane"]) for row in rows]
    connection.exec_driver_sql(statement, values)


def planes_text(planes: Sequence[ImagePlane]) -> str:
    """Geometry of an object, as JSON: that of frames which lie alike once, with the position of each."""
    if not planes:
        return "null"
    if len(planes) == 1:
        plane = planes[0]
        before = _before_position(plane.rows, plane.columns, plane.pixel_spacing, plane.orientation)
        return f"{before}{json.dumps(plane.position)}]}}]}}"
    stacks: dict[tuple[Any, ...], list[tuple[float, float, float]]] = {}
    for plane in planes:
        stacks.setdefault((plane.pixel_spacing, plane.orientation), []).append(plane.position)
    told = [
        {"pixel_spacing": spacing, "orientation": orientation, "positions": positions}
        for (spacing, orientation), positions in stacks.items()
    ]
    return json.dumps({"rows": planes[0].rows, "columns": planes[0].columns, "stacks": told})


@lru_cache(256)
def _before_position(rows: int, columns: int, spacing: tuple[float, ...], orientation: tuple[float, ...]) -> str:
    """What the images of a series say alike of where they lie."""
    stack = {"pixel_spacing": spacing, "orientation": orientation, "positions": []}
    return json.dumps({"rows": rows, "columns": columns, "stacks": [stack]}).removesuffix("]}]}")
