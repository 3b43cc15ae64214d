"""Conditions of SQL: which jobs may begin now, and which of them a worker may run."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, FromClause, func, or_, select

from dicom_node.archive.schema import job
from dicom_node.domain.fitness import Abilities, as_text
from dicom_node.domain.job import JobState

_OTHER = job.alias()


def has_room(at_once: Mapping[str, int], jobs: FromClause = job) -> list[ColumnElement[bool]]:
    """Fewer jobs of the model run than may at the same time. ``at_once``: model -> how many may.

    Jobs that encode results anew do not run their model.
    """
    runs_it = (_OTHER.c.state == JobState.RUNNING, _OTHER.c.encodes.is_(None))
    running = select(func.count()).where(*runs_it)
    return [
        or_(
            jobs.c.model != model,
            jobs.c.encodes.is_not(None),
            running.where(_OTHER.c.model == model).scalar_subquery() < most,
        )
        for model, most in at_once.items()
    ]


def fits(abilities: Abilities | None, jobs: FromClause = job) -> list[ColumnElement[bool]]:
    """The worker has what the job needs, as ``Abilities.lack`` says it; None: whoever asks may run every job."""
    if abilities is None:
        return []
    left: ColumnElement[str] = jobs.c.labels
    for label in sorted(abilities.labels):
        left = func.replace(left, as_text((label,)), "")
    memory_mb = abilities.gpu_memory_mb
    return [left == "", *([] if memory_mb is None else [jobs.c.gpu_memory_mb <= memory_mb])]
