"""Tables of what is corrected after images arrived. ``schema`` names them with all others."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text, UniqueConstraint

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
