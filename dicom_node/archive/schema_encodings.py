"""The table of encodings that destinations did not take."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, Text

from dicom_node.archive.columns import metadata
from dicom_node.archive.database import UtcTime

encoding_refusal = Table(
    "encoding_refusal",  # a destination knows the SOP class or transfer syntax of an encoding not
    metadata,
    Column("destination", String(64), primary_key=True),
    Column("profile", String(32), primary_key=True),
    Column("at", UtcTime, nullable=False),  # when it refused it last
    Column("why", Text, nullable=False),
)
