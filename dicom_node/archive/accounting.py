"""The promise that what was acknowledged is accounted for, as a number.

Every object in the index is open (arriving, held, or not looked at by the rules yet), decided upon (planned, or not
wanted, with the reason), a result of ours, replaced by a later revision, or rejected with a reason. What is
none of these is unaccounted.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, ScalarSelect, func, select

from dicom_node.archive.database import Database
from dicom_node.archive.schema import instance, series, study
from dicom_node.domain.study import InstanceState, Origin, Readiness

NOT_CURRENT = tuple(state for state in InstanceState if state != InstanceState.CURRENT)


def instances_by_state(connection: Connection) -> dict[str, int]:
    """Number of instances in each state that any is in."""
    counts = (_count(), *(_count(instance.c.state == state) for state in NOT_CURRENT))
    every, *others = (int(count) for count in connection.execute(select(*counts)).one())
    counted = dict(zip((InstanceState.CURRENT, *NOT_CURRENT), (every - sum(others), *others), strict=True))
    return {str(state): count for state, count in sorted(counted.items()) if count}


def unaccounted(database: Database) -> int:
    """How many stored objects nobody answers for. Must be 0.

    One statement, so that it sees one moment; it reads indexes, not the table of instances. Nearly all instances are
    current, so these are counted as all but the others.
    """
    no_series = (instance.c.series_id.is_(None), instance.c.state == InstanceState.CURRENT)
    homeless = _count(*no_series, instance.c.origin != Origin.OWN_RESULT)
    in_series = _count() - _count(instance.c.state.in_(NOT_CURRENT)) - _count(*no_series)
    counted = select(func.coalesce(func.sum(series.c.instances), 0)).scalar_subquery()
    unexplained = _count(instance.c.state == InstanceState.REJECTED, instance.c.reason == "")
    seen = (study.c.state == Readiness.READY, study.c.decided_revision >= study.c.revision, study.c.outcome == "")
    unjudged = select(func.coalesce(func.sum(series.c.instances), 0)).join(study).where(*seen).scalar_subquery()
    with database.read() as connection:
        row = connection.execute(select(homeless, in_series - counted, unexplained, unjudged)).one()
    return sum(abs(int(number)) for number in row)


def _count(*conditions: Any) -> ScalarSelect[int]:
    return select(func.count()).select_from(instance).where(*conditions).scalar_subquery()
