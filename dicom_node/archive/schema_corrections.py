"""Tables of what is corrected after images arrived. ``schema`` names them with all others."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, String, Table, Text, UniqueConstraint

from dicom_node.archive.columns import Key, id_column, metadata, site_column
from dicom_node.archive.database import UtcTime

rejection = Table(
    "rejection",  # an instance that a rejection note (IHE IOCM) names, whether it is here or not
    metadata,
    id_column(),
    site_column(),
    Column("sop_uid", String(64), nullable=False),
    Column("note_sop_uid", String(64), nullable=False),
    Column("title", String(16), nullable=False),  # code of the note's title, of DCM
    Column("received_at", UtcTime, nullable=False),  # the note
    UniqueConstraint("sop_uid", "note_sop_uid", "site_id"),
)

open_item = Table(
    "open_item",  # what a person has to see to
    metadata,
    id_column(),
    site_column(),
    Column("key", String(160), nullable=False),  # the same matter is never opened twice
    Column("study_id", Key, ForeignKey("study.id"), nullable=False),
    Column("job_id", Key, ForeignKey("job.id")),
    Column("kind", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("closed_at", UtcTime),
    Column("closed_by", String(128)),
    UniqueConstraint("key", "site_id"),
    Index(None, "study_id"),
    Index(None, "closed_at"),
)

identity_event = Table(
    "identity_event",  # what an authority told of patients, orders and studies, each once
    metadata,
    id_column(),
    site_column(),
    Column("source", String(64), nullable=False),  # who told it: hl7:ADT1, by hand, …
    Column("event_id", String(128), nullable=False),  # as that source numbers it
    Column("kind", String(16), nullable=False),  # merge, unlink, move, update
    Column("at", UtcTime, nullable=False),  # when it happened, as the source tells
    Column("received_at", UtcTime, nullable=False),
    Column("content", JSON, nullable=False),
    Column("studies", JSON, nullable=False),  # ids of those whose results it concerns
    Column("reached", Boolean, nullable=False),  # whether their results follow it
    UniqueConstraint("event_id", "source", "site_id"),
    Index(None, "reached"),
)
