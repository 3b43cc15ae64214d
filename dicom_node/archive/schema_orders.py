"""The table of orders: how urgent each is."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table, Text, UniqueConstraint

from dicom_node.archive.columns import id_column, metadata, site_column
from dicom_node.archive.database import UtcTime

imaging_order = Table(
    "imaging_order",  # what is known of an order, by accession number and who issued that
    metadata,
    id_column(),
    site_column(),
    Column("accession_number", String(255), nullable=False),
    Column("issuer", String(64), nullable=False),  # empty: not said
    Column("priority", Integer),  # as of jobs; none: nobody has told
    Column("source", String(64), nullable=False),  # who told it: worklist NAME, hl7, …
    Column("note", Text, nullable=False),  # why there is no priority
    Column("told_at", UtcTime),
    Column("tries", Integer, nullable=False),  # in which a worklist could not be asked
    Column("next_try", UtcTime),  # none: worklists are not asked any more
    Column("visit", String(64)),  # of which visit it is (PV1-19), where HL7 has told
    Column("account", String(64)),  # and of which account (PID-18)
    UniqueConstraint("accession_number", "issuer", "site_id"),
    Index(None, "next_try"),
)
