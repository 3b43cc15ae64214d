"""Received objects on their way on: which of them a rule still has to send to a destination, planned exactly once.

A row of the table ``forwarding`` stands for one object and one destination, whichever rule asked for it. It is
written in the transaction that makes the parcel, so what was planned is never planned again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from dicom_node.archive import events
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.schema import forwarding, instance, parcel, series
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.study import InstanceState, Origin
from dicom_node.errors import LedgerError

OBJECTS_PER_PARCEL = 500
MOST_REVISIONS = 5  # of one object that are sent to one destination; more is a loop, not a correction
CAME_FROM_THERE = "came-from-there"
TOO_MANY_REVISIONS = "too-many-revisions"
SUPERSEDED = {"reason": "superseded", "message": "a later revision replaces it", "remedy": ""}
_CHUNK = 500  # values of one IN
_SITE = 1
_UNSENT = (ParcelState.DUE, ParcelState.REFUSED, ParcelState.HELD)


@dataclass(frozen=True, slots=True)
class Order:
    """What a rule sends on to one destination."""

    study_id: int
    rule: str
    destination: str
    ae_title: str  # of the destination: what it has sent does not go back to it
    series: tuple[int, ...] | None  # row ids; none: the whole study
    sop_classes: tuple[str, ...] = ()  # only these; empty: all


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What has become of an order: numbers of objects."""

    parcels: tuple[int, ...]  # planned now
    planned: int  # in them
    before: int  # planned earlier
    kept: int  # that do not go there, as ``forwarding.reason`` says


def forward(database: Database, order: Order, by: str = "planner") -> Forwarded:
    """Plan parcels of the current objects that were received and have not been planned for the destination.

    Raises:
        LedgerError: another planner is at the same study again and again.
    """
    for _ in range(3):
        with database.read() as connection:
            new = _unplanned(connection, order)
            planned: tuple[int, ...] = ()
        if not new:
            break
        try:
            with database.write() as connection:
                planned = _plan(connection, order, _unplanned(connection, order), by)
                return _counted(connection, order, planned)
        except IntegrityError:
            continue  # another planner was faster; look again
    else:
        raise LedgerError(f"study {order.study_id} is being planned elsewhere", reason="planned-elsewhere")
    with database.read() as connection:
        return _counted(connection, order, ())


def owed(database: Database, order: Order) -> int:
    """How many objects of an order have neither a parcel nor a reason why they do not go: 0 once it is planned."""
    statement = select(func.count()).select_from(instance).where(*_meant(order), ~exists().where(_of(order)))
    with database.read() as connection:
        return int(connection.execute(statement).scalar_one())


def leave_out_superseded(connection: Connection, parcel_id: int) -> bool:
    """Leave out of a parcel what does not count any more; False: nothing of it is left, so it is held for good."""
    ids = connection.execute(select(parcel.c.instances).where(parcel.c.id == parcel_id)).scalar_one()
    if ids is None:
        return True
    current: set[int] = set()
    for start in range(0, len(ids), _CHUNK):
        where = instance.c.id.in_(ids[start : start + _CHUNK]), instance.c.state == InstanceState.CURRENT
        current.update(connection.execute(select(instance.c.id).where(*where)).scalars())
    left = [number for number in ids if number in current]
    values: dict[str, Any] = {"instances": left} if left else {"state": ParcelState.HELD, "error": SUPERSEDED}
    if left != ids:
        connection.execute(update(parcel).where(parcel.c.id == parcel_id).values(**values))
    return bool(left)


def _meant(order: Order) -> list[Any]:
    """Conditions for the objects of an order."""
    of_study = select(series.c.id).where(series.c.study_id == order.study_id)
    where: list[Any] = [instance.c.series_id.in_(of_study if order.series is None else order.series)]
    where += [instance.c.state == InstanceState.CURRENT, instance.c.origin == Origin.ROUTED]
    if order.sop_classes:
        where.append(instance.c.sop_class.in_(order.sop_classes))
    return where


def _of(order: Order) -> Any:
    return (forwarding.c.instance_id == instance.c.id) & (forwarding.c.destination == order.destination)


def _unplanned(connection: Connection, order: Order) -> Sequence[Any]:
    columns = instance.c.id, instance.c.sop_uid, instance.c.revision, instance.c.calling_ae
    statement = select(*columns).where(*_meant(order), ~exists().where(_of(order))).order_by(instance.c.id)
    return connection.execute(statement).all()


def _plan(connection: Connection, order: Order, new: Sequence[Any], by: str) -> tuple[int, ...]:
    back = [row for row in new if order.ae_title and row.calling_ae.strip() == order.ae_title.strip()]
    rest = [row for row in new if row not in back]
    sent = _sent_before(connection, order, [row.sop_uid for row in rest if row.revision > 1])
    often = [row for row in rest if sent[row.sop_uid] >= MOST_REVISIONS]
    _keep(connection, order, back, CAME_FROM_THERE, by)
    _keep(connection, order, often, TOO_MANY_REVISIONS, by)
    rest = [row for row in rest if row not in often]
    _replace(connection, order, [row.sop_uid for row in rest if row.revision > 1])
    starts = range(0, len(rest), OBJECTS_PER_PARCEL)
    return tuple(_add(connection, order, rest[start : start + OBJECTS_PER_PARCEL], by) for start in starts)


def _add(connection: Connection, order: Order, rows: Sequence[Any], by: str) -> int:
    ids = [row.id for row in rows]
    times = {"next_try": db_now(), "created_at": db_now()}
    values = {"site_id": _SITE, "study_id": order.study_id, "instances": ids, "rule": order.rule, **times}
    values |= {"destination": order.destination, "state": ParcelState.DUE, "tries": 0}
    parcel_id = int(connection.execute(insert(parcel).values(values).returning(parcel.c.id)).scalar_one())
    _note(connection, order, ids, parcel_id, "")
    detail = {"rule": order.rule, "destination": order.destination, "objects": len(ids)}
    events.record(connection, "forwarding planned", by, detail, study_id=order.study_id, parcel_id=parcel_id)
    return parcel_id


def _keep(connection: Connection, order: Order, rows: Sequence[Any], reason: str, by: str) -> None:
    """Objects that do not go to the destination, since they would go round in a circle."""
    if not rows:
        return
    _note(connection, order, [row.id for row in rows], None, reason)
    message = {
        CAME_FROM_THERE: f"{order.destination} has sent them to us",
        TOO_MANY_REVISIONS: f"{MOST_REVISIONS} revisions of them went there already; does it send them round to us?",
    }[reason]
    detail = {"rule": order.rule, "destination": order.destination, "objects": len(rows)}
    detail |= {"reason": reason, "message": message}
    events.record(connection, "loop cut", by, detail, study_id=order.study_id)


def _note(connection: Connection, order: Order, ids: Sequence[int], parcel_id: int | None, reason: str) -> None:
    common = {"destination": order.destination, "parcel_id": parcel_id, "reason": reason}
    connection.execute(insert(forwarding), [{"instance_id": number, **common} for number in ids])


def _sent_before(connection: Connection, order: Order, uids: Sequence[str]) -> Counter[str]:
    """How many revisions of each object were planned for the destination."""
    counts: Counter[str] = Counter()
    for start in range(0, len(uids), _CHUNK):
        statement = (
            select(instance.c.sop_uid, func.count())
            .join(forwarding, _of(order))
            .where(instance.c.site_id == _SITE, instance.c.sop_uid.in_(uids[start : start + _CHUNK]))
            .where(forwarding.c.parcel_id.is_not(None))
            .group_by(instance.c.sop_uid)
        )
        counts.update({str(uid): int(count) for uid, count in connection.execute(statement)})
    return counts


def _replace(connection: Connection, order: Order, uids: Sequence[str]) -> None:
    """Earlier revisions that the destination has not got yet are not sent to it any more."""
    stale: set[int] = set()
    for start in range(0, len(uids), _CHUNK):
        statement = (
            select(forwarding.c.parcel_id)
            .join(instance, _of(order))
            .join(parcel, parcel.c.id == forwarding.c.parcel_id)
            .where(instance.c.site_id == _SITE, instance.c.sop_uid.in_(uids[start : start + _CHUNK]))
            .where(parcel.c.state.in_(_UNSENT))
        )
        stale.update(connection.execute(statement).scalars())
    for parcel_id in sorted(stale):
        leave_out_superseded(connection, parcel_id)


def _counted(connection: Connection, order: Order, parcels: tuple[int, ...]) -> Forwarded:
    statement = (
        select(forwarding.c.parcel_id, func.count())
        .join(instance, _of(order))
        .where(*_meant(order))
        .group_by(forwarding.c.parcel_id)
    )
    counts = {found: int(count) for found, count in connection.execute(statement)}
    planned = sum(counts.get(number, 0) for number in parcels)
    kept = counts.pop(None, 0)
    return Forwarded(parcels, planned, sum(counts.values()) - planned, kept)
