"""Tables of what patients' records and genomes say. ``schema`` names them with all others."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, LargeBinary, String, Table, Text, UniqueConstraint

from dicom_node.archive.columns import Key, id_column, metadata, site_column
from dicom_node.archive.database import UtcTime
from dicom_node.archive.sealing import SealedJson

document = Table(
    "document",  # a source as it was received
    metadata,
    id_column(),
    site_column(),
    Column("identity_id", Key, ForeignKey("identity.id")),  # none: it speaks of several patients
    Column("kind", String(32), nullable=False),  # fhir, hl7, vcf …
    Column("source", String(255), nullable=False),  # where it is from, as the site calls it
    Column("digest", String(64), nullable=False),  # SHA-256
    Column("path", String(255), nullable=False),  # below the data directory; whole where it lies elsewhere
    Column("received_at", UtcTime, nullable=False),
    Column("content", LargeBinary),  # of a small one, which then has no path
    UniqueConstraint("site_id", "kind", "digest"),
    Index(None, "identity_id"),
)

patient_record = Table(
    "patient_record",  # a patient, as a system other than the images' calls and describes them
    metadata,
    id_column(),
    site_column(),
    Column("identity_id", Key, ForeignKey("identity.id"), nullable=False),
    Column("source", String(64), nullable=False),  # the system
    Column("reference", String(255), nullable=False),  # what it calls the patient: Patient/123
    Column(
        "attributes", SealedJson("patient_record.attributes"), nullable=False
    ),  # DICOM keyword -> name, birth date, sex
    Column("document_id", Key, ForeignKey("document.id")),
    Column("standing", String(16), nullable=False),  # current, replaced, deleted
    Column("changed_at", UtcTime, nullable=False),
    UniqueConstraint("source", "reference", "identity_id"),
    Index(None, "identity_id"),
)

feature = Table(
    "feature",  # a value of a document
    metadata,
    id_column(),
    site_column(),
    Column("identity_id", Key, ForeignKey("identity.id"), nullable=False),
    Column("document_id", Key, ForeignKey("document.id")),
    Column("name", String(64), nullable=False),
    Column("source", String(255), nullable=False),  # what in the document says so, without its version
    Column("current", Boolean, nullable=False),  # false: a later version of its source says otherwise, or nothing
    Column("extracted_at", UtcTime, nullable=False),
    Column("content", SealedJson("feature.content"), nullable=False),  # domain.feature.Feature
    Column("gone", Text, nullable=False, default=""),  # why it is not current
    Index(None, "identity_id", "name"),
    Index(None, "source"),
)

record_sync = Table(
    "record_sync",  # how far a server of the record was followed
    metadata,
    id_column(),
    site_column(),
    Column("server", String(32), nullable=False),  # its name in the settings
    Column("kind", String(16), nullable=False),  # changes, export
    Column("changed_at", UtcTime, nullable=False),
    Column("state", JSON, nullable=False),
    UniqueConstraint("server", "kind", "site_id"),
)
