"""The promise that what was acknowledged is accounted for, as a number.

Every object in the index is open (arriving, held, or not looked at by the rules yet), decided upon (planned, or not
wanted, with the reason; one that a rule sends on has a parcel or a reason for each destination), a result of ours,
replaced by a later revision, or rejected with a reason, by us or by a rejection note. What is none of these is
unaccounted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ScalarSelect, func, select

from dicom_node.archive.database import Database
from dicom_node.archive.schema import instance, series, study
from dicom_node.domain.study import InstanceState, Origin, Readiness

_OTHERS = tuple(state for state in InstanceState if state != InstanceState.CURRENT)


@dataclass(frozen=True, slots=True)
class Account:
    """The instances of a ledger at one moment."""

    by_state: Mapping[str, int]  # of the states that any is in
    unaccounted: int  # stored objects that nobody answers for; must be 0


def account(database: Database) -> Account:
    """Count all instances.

    One statement, so that it sees one moment; it reads indexes, not the table of instances. Nearly all instances are
    current, so these are counted as all but the others.
    """
    states = (_count(), *(_count(instance.c.state == state) for state in _OTHERS))
    no_series = (instance.c.series_id.is_(None), instance.c.state == InstanceState.CURRENT)
    homeless = _count(*no_series, instance.c.origin != Origin.OWN_RESULT)
    in_series = select(func.coalesce(func.sum(series.c.instances), 0)).scalar_subquery()
    unexplained = _count(instance.c.state == InstanceState.REJECTED, instance.c.reason == "")
    seen = (study.c.state == Readiness.READY, study.c.decided_revision >= study.c.revision, study.c.outcome == "")
    unjudged = select(func.coalesce(func.sum(series.c.instances), 0)).join(study).where(*seen).scalar_subquery()
    looked_at = (study.c.owed > 0, study.c.decided_revision >= study.c.revision)
    overlooked = select(func.coalesce(func.sum(study.c.owed), 0)).where(*looked_at).scalar_subquery()
    with database.read() as connection:
        totals = (homeless, unexplained, unjudged, overlooked, _count(*no_series) + in_series)
        row = connection.execute(select(*totals, *states)).one()
    *owed, placed, every = (int(number) for number in row[: -len(_OTHERS)])
    others = [int(number) for number in row[-len(_OTHERS) :]]
    current = every - sum(others)
    by_state = zip((InstanceState.CURRENT, *_OTHERS), (current, *others), strict=True)
    return Account(
        by_state={str(state): count for state, count in sorted(by_state) if count},
        unaccounted=sum(owed) + abs(current - placed),
    )


def unaccounted(database: Database) -> int:
    """How many stored objects nobody answers for. Must be 0."""
    return account(database).unaccounted


def _count(*conditions: Any) -> ScalarSelect[int]:
    return select(func.count()).select_from(instance).where(*conditions).scalar_subquery()
