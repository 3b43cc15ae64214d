"""The tables of Storage Commitment: what peers ask us, and what we ask them."""

from __future__ import annotations

from sqlalchemy import JSON, Column, ForeignKey, Index, Integer, String, Table, UniqueConstraint

from dicom_node.archive.columns import Key, metadata
from dicom_node.archive.columns import id_column as _id
from dicom_node.archive.columns import site_column as _site
from dicom_node.archive.database import UtcTime

commitment = Table(
    "commitment",  # one Storage Commitment request (PS3.4 J) of a peer
    metadata,
    _id(),
    _site(),
    Column("peer", String(64), nullable=False),
    Column("transaction_uid", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # requested, verified, reported, unanswerable
    Column("instances", JSON, nullable=False),  # as requested: [SOP class, SOP instance]
    Column("failures", JSON, nullable=False),  # SOP Instance UID -> failure reason, once verified
    Column("kept_until", UtcTime),  # what was promised of those that did not fail
    Column("association", String(64)),  # over which it came, as long as it is to be reported there
    Column("association_until", UtcTime),  # lease of that association
    Column("tries", Integer, nullable=False),
    Column("next_try", UtcTime, nullable=False),
    Column("error", JSON),  # why it could not be reported: reason, message, remedy
    Column("requested_at", UtcTime, nullable=False),
    Column("verified_at", UtcTime),
    Column("reported_at", UtcTime),
    UniqueConstraint("site_id", "peer", "transaction_uid"),
    Index(None, "state", "next_try"),
)

commitment_request = Table(
    "commitment_request",  # one Storage Commitment request (PS3.4 J) to a peer
    metadata,
    _id(),
    _site(),
    Column("parcel_id", Key, ForeignKey("parcel.id"), nullable=False),
    Column("peer", String(64), nullable=False),
    Column("transaction_uid", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),  # asked, unsent, answered, settled
    Column("committed", JSON, nullable=False),  # SOP Instance UIDs, once it is answered
    Column("failures", JSON, nullable=False),  # SOP Instance UID -> failure reason, likewise
    Column("asked_at", UtcTime, nullable=False),
    Column("until", UtcTime, nullable=False),  # the answer is waited for
    Column("answered_at", UtcTime),
    Index(None, "parcel_id"),
)
