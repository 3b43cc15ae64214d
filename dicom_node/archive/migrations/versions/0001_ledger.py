"""The ledger, first version"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from dicom_node.archive.database import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    op.create_table(
        "process",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("seen_at", UtcTime(), nullable=False),
        sa.Column("idle", sa.Boolean(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_process")),
    )
    op.create_table(
        "turn",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_turn")),
    )
    op.create_table(
        "encoding_refusal",
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=32), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "profile", name=op.f("pk_encoding_refusal")),
    )
    op.create_table(
        "site",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("called_ae", sa.String(length=16), nullable=True),
        sa.Column("time_zone", sa.String(length=64), nullable=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
        sa.UniqueConstraint("name", name=op.f("uq_site_name")),
    )
    op.create_table(
        "commitment",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("instances", sa.JSON(), nullable=False),
        sa.Column("failures", sa.JSON(), nullable=False),
        sa.Column("kept_until", UtcTime(), nullable=True),
        sa.Column("association", sa.String(length=64), nullable=True),
        sa.Column("association_until", UtcTime(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try", UtcTime(), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("requested_at", UtcTime(), nullable=False),
        sa.Column("verified_at", UtcTime(), nullable=True),
        sa.Column("reported_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_commitment_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment")),
        sa.UniqueConstraint(
            "site_id", "peer", "transaction_uid", name=op.f("uq_commitment_site_id_peer_transaction_uid")
        ),
    )
    with op.batch_alter_table("commitment", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commitment_state_next_try"), ["state", "next_try"], unique=False)

    op.create_table(
        "event",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("study_id", KEY, nullable=True),
        sa.Column("series_id", KEY, nullable=True),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("parcel_id", KEY, nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_event_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_event_job_id"), ["job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_event_study_id"), ["study_id"], unique=False)

    op.create_table(
        "identity",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("issuer", sa.String(length=64), nullable=False),
        sa.Column("patient_id", sa.String(length=255), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("replaced_by", KEY, nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("changed_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["replaced_by"], ["identity.id"], name=op.f("fk_identity_replaced_by")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_identity_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity")),
        sa.UniqueConstraint("patient_id", "issuer", "site_id", name=op.f("uq_identity_patient_id_issuer_site_id")),
    )
    with op.batch_alter_table("identity", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_identity_replaced_by"), ["replaced_by"], unique=False)

    op.create_table(
        "document",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("identity_id", KEY, nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_document_identity_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_document_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document")),
        sa.UniqueConstraint("site_id", "kind", "digest", name=op.f("uq_document_site_id_kind_digest")),
    )
    op.create_table(
        "record_sync",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("server", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("changed_at", UtcTime(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_record_sync_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_record_sync")),
        sa.UniqueConstraint("server", "kind", "site_id", name=op.f("uq_record_sync_server_kind_site_id")),
    )
    op.create_table(
        "imaging_order",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("accession_number", sa.String(length=255), nullable=False),
        sa.Column("issuer", sa.String(length=64), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=True),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("told_at", UtcTime(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try", UtcTime(), nullable=True),
        sa.Column("visit", sa.String(length=64), nullable=True),
        sa.Column("account", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_imaging_order_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imaging_order")),
        sa.UniqueConstraint(
            "accession_number", "issuer", "site_id", name=op.f("uq_imaging_order_accession_number_issuer_site_id")
        ),
    )
    with op.batch_alter_table("imaging_order", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_imaging_order_next_try"), ["next_try"], unique=False)

    op.create_table(
        "study",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("identity_id", KEY, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("first_received", UtcTime(), nullable=False),
        sa.Column("last_received", UtcTime(), nullable=False),
        sa.Column("changed_at", UtcTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("decided_revision", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.String(length=255), nullable=True),
        sa.Column("accession_number", sa.String(length=255), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("readiness", sa.JSON(), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("corrections", sa.JSON(), nullable=False),
        sa.Column("moved_to", KEY, nullable=True),
        sa.ForeignKeyConstraint(["moved_to"], ["identity.id"], name=op.f("fk_study_moved_to")),
        sa.Column("owed", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_study_identity_id")),
        sa.Column("order_id", KEY, nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["imaging_order.id"], name=op.f("fk_study_order_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_study_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("study_uid", "site_id", name=op.f("uq_study_study_uid_site_id")),
    )
    with op.batch_alter_table("study", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_study_accession_number"), ["accession_number"], unique=False)
        batch_op.create_index(batch_op.f("ix_study_identity_id"), ["identity_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_study_last_received"), ["last_received"], unique=False)
        batch_op.create_index(batch_op.f("ix_study_order_id"), ["order_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_study_patient_id"), ["patient_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_study_state_last_received"), ["state", "last_received"], unique=False)
        batch_op.create_index(
            "ix_study_owed",
            ["owed"],
            unique=False,
            sqlite_where=sa.text("owed > 0"),
            postgresql_where=sa.text("owed > 0"),
        )
        batch_op.create_index(
            "ix_study_undecided",
            ["changed_at"],
            unique=False,
            sqlite_where=sa.text("decided_revision < revision"),
            postgresql_where=sa.text("decided_revision < revision"),
        )

    with op.batch_alter_table("document", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_document_identity_id"), ["identity_id"], unique=False)

    op.create_table(
        "patient_record",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("identity_id", KEY, nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.String(length=255), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("document_id", KEY, nullable=True),
        sa.Column("standing", sa.String(length=16), nullable=False),
        sa.Column("changed_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name=op.f("fk_patient_record_document_id")),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_patient_record_identity_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_patient_record_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient_record")),
        sa.UniqueConstraint(
            "source", "reference", "identity_id", name=op.f("uq_patient_record_source_reference_identity_id")
        ),
    )
    with op.batch_alter_table("patient_record", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_patient_record_identity_id"), ["identity_id"], unique=False)

    op.create_table(
        "feature",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("identity_id", KEY, nullable=False),
        sa.Column("document_id", KEY, nullable=True),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("extracted_at", UtcTime(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("gone", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name=op.f("fk_feature_document_id")),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_feature_identity_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_feature_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feature")),
    )
    with op.batch_alter_table("feature", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_feature_identity_id_name"), ["identity_id", "name"], unique=False)
        batch_op.create_index(batch_op.f("ix_feature_source"), ["source"], unique=False)

    op.create_table(
        "job",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("study_id", KEY, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("issue", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.String(length=32), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("destinations", sa.JSON(), nullable=False),
        sa.Column("withheld", sa.JSON(), nullable=False),
        sa.Column("features_digest", sa.String(length=64), nullable=False),
        sa.Column("explanation", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("excused", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.Column("progress", sa.String(length=64), nullable=False),
        sa.Column("published_at", UtcTime(), nullable=True),
        sa.Column("run_after", UtcTime(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=True),
        sa.Column("finished_at", UtcTime(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("timings", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("supersedes", KEY, nullable=True),
        sa.Column("question", sa.String(length=255), nullable=False),
        sa.Column("priority_source", sa.String(length=128), nullable=False),
        sa.Column("gpu_memory_mb", sa.Integer(), nullable=False),
        sa.Column("labels", sa.String(length=512), nullable=False),
        sa.Column("useful_until", UtcTime(), nullable=True),
        sa.Column("replacement", sa.JSON(), nullable=True),
        sa.Column("gather_until", UtcTime(), nullable=True),
        sa.Column("features", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("encodes", KEY, nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_job_site_id")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_job_study_id")),
        sa.ForeignKeyConstraint(["supersedes"], ["job.id"], name=op.f("fk_job_supersedes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("key", "issue", name=op.f("uq_job_key_issue")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_state_priority_id"), ["state", "priority", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_job_gather_until"), ["gather_until"], unique=False)
        batch_op.create_index(batch_op.f("ix_job_study_id"), ["study_id"], unique=False)
        batch_op.create_index(
            "ix_job_unsettled",
            ["supersedes"],
            unique=False,
            sqlite_where=sa.text("supersedes IS NOT NULL AND NOT settled"),
            postgresql_where=sa.text("supersedes IS NOT NULL AND NOT settled"),
        )

    op.create_table(
        "series",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("study_id", KEY, nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("calling_ae", sa.String(length=16), nullable=False),
        sa.Column("called_ae", sa.String(length=16), nullable=False),
        sa.Column("first_received", UtcTime(), nullable=False),
        sa.Column("last_received", UtcTime(), nullable=False),
        sa.Column("association_ended", UtcTime(), nullable=True),
        sa.Column("readiness", sa.JSON(), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("varying", sa.JSON(), nullable=False),
        sa.Column("corrections", sa.JSON(), nullable=False),
        sa.Column("moved_to", KEY, nullable=True),
        sa.ForeignKeyConstraint(["moved_to"], ["identity.id"], name=op.f("fk_series_moved_to")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_series_site_id")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_series_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("study_id", "series_uid", name=op.f("uq_series_study_id_series_uid")),
    )
    with op.batch_alter_table("series", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_series_state_last_received_instances"), ["state", "last_received", "instances"], unique=False
        )

    op.create_table(
        "finding",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("tracking_uid", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_finding_job_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_finding_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding")),
    )
    with op.batch_alter_table("finding", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_finding_job_id"), ["job_id"], unique=False)

    op.create_table(
        "instance",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("study_id", KEY, nullable=True),
        sa.Column("series_id", KEY, nullable=True),
        sa.Column("sop_uid", sa.String(length=255), nullable=False),
        sa.Column("sop_class", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax", sa.String(length=64), nullable=False),
        sa.Column("plane", sa.JSON(), nullable=True),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("instance_number", sa.Integer(), nullable=True),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("calling_ae", sa.String(length=16), nullable=False),
        sa.Column("called_ae", sa.String(length=16), nullable=False),
        sa.Column("association", sa.String(length=64), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("kept_until", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_instance_series_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_instance_site_id")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_instance_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
        sa.UniqueConstraint("path", name=op.f("uq_instance_path")),
        sa.UniqueConstraint("site_id", "sop_uid", "revision", name=op.f("uq_instance_site_id_sop_uid_revision")),
    )
    with op.batch_alter_table("instance", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_instance_series_id_state"), ["series_id", "state"], unique=False)
        batch_op.create_index(batch_op.f("ix_instance_state"), ["state"], unique=False)
        batch_op.create_index(
            "ix_instance_undigested",
            ["series_id"],
            unique=False,
            sqlite_where=sa.text("digest = '' AND state <> 'rejected'"),
            postgresql_where=sa.text("digest = '' AND state <> 'rejected'"),
        )

    op.create_table(
        "rejection",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("sop_uid", sa.String(length=64), nullable=False),
        sa.Column("note_sop_uid", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=16), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_rejection_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejection")),
        sa.UniqueConstraint(
            "sop_uid", "note_sop_uid", "site_id", name=op.f("uq_rejection_sop_uid_note_sop_uid_site_id")
        ),
    )
    op.create_table(
        "open_item",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("study_id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("closed_at", UtcTime(), nullable=True),
        sa.Column("closed_by", sa.String(length=128), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_open_item_job_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_open_item_site_id")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_open_item_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_open_item")),
        sa.UniqueConstraint("key", "site_id", name=op.f("uq_open_item_key_site_id")),
    )
    with op.batch_alter_table("open_item", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_open_item_closed_at"), ["closed_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_open_item_study_id"), ["study_id"], unique=False)

    op.create_table(
        "identity_event",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("studies", sa.JSON(), nullable=False),
        sa.Column("reached", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_identity_event_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_event")),
        sa.UniqueConstraint("event_id", "source", "site_id", name=op.f("uq_identity_event_event_id_source_site_id")),
    )
    with op.batch_alter_table("identity_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_identity_event_reached"), ["reached"], unique=False)

    op.create_table(
        "job_dependency",
        sa.Column("job_id", KEY, nullable=False),
        sa.Column("needs_job_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_dependency_job_id")),
        sa.ForeignKeyConstraint(["needs_job_id"], ["job.id"], name=op.f("fk_job_dependency_needs_job_id")),
        sa.PrimaryKeyConstraint("job_id", "needs_job_id", name=op.f("pk_job_dependency")),
    )
    op.create_table(
        "result_set",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=False),
        sa.Column("profile", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("standing", sa.String(length=16), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_result_set_job_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_result_set_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result_set")),
        sa.UniqueConstraint("job_id", "profile", name=op.f("uq_result_set_job_id_profile")),
    )
    op.create_table(
        "artifact",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("result_set_id", KEY, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sop_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class", sa.String(length=64), nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["result_set_id"], ["result_set.id"], name=op.f("fk_artifact_result_set_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_artifact_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact")),
        sa.UniqueConstraint("sop_uid", name=op.f("uq_artifact_sop_uid")),
    )
    with op.batch_alter_table("artifact", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_artifact_result_set_id"), ["result_set_id"], unique=False)

    op.create_table(
        "parcel",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("study_id", KEY, nullable=False),
        sa.Column("result_set_id", KEY, nullable=True),
        sa.Column("instances", sa.JSON(), nullable=True),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try", UtcTime(), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("sent_at", UtcTime(), nullable=True),
        sa.Column("rule", sa.String(length=64), nullable=True),
        sa.Column("taken", sa.JSON(), nullable=False),
        sa.Column("left_out", sa.JSON(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("verify_at", UtcTime(), nullable=True),
        sa.Column("checks", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("verification", sa.Text(), nullable=False),
        sa.Column("claimed_by", sa.String(length=128), nullable=True),
        sa.Column("claimed_until", UtcTime(), nullable=True),
        sa.Column("cleared", sa.Text(), nullable=False),
        sa.Column("doubts", sa.Integer(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("reviewed_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["result_set_id"], ["result_set.id"], name=op.f("fk_parcel_result_set_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_parcel_site_id")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_parcel_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parcel")),
        sa.UniqueConstraint("result_set_id", "destination", name=op.f("uq_parcel_result_set_id_destination")),
    )
    with op.batch_alter_table("parcel", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_parcel_state_next_try"), ["state", "next_try"], unique=False)
        batch_op.create_index(batch_op.f("ix_parcel_study_id"), ["study_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_parcel_verify_at"), ["verify_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_parcel_sent_at"), ["sent_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_parcel_claimed_by"), ["claimed_by"], unique=False)

    op.create_table(
        "forwarding",
        sa.Column("instance_id", KEY, autoincrement=False, nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("parcel_id", KEY, nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"], name=op.f("fk_forwarding_instance_id")),
        sa.ForeignKeyConstraint(["parcel_id"], ["parcel.id"], name=op.f("fk_forwarding_parcel_id")),
        sa.PrimaryKeyConstraint("instance_id", "destination", name=op.f("pk_forwarding")),
    )
    with op.batch_alter_table("forwarding", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_forwarding_parcel_id"), ["parcel_id"], unique=False)

    op.create_table(
        "census",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("study_id", KEY, nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("images", sa.Integer(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("last_image", UtcTime(), nullable=False),
        sa.Column("wanted_at", UtcTime(), nullable=False),
        sa.Column("asked_at", UtcTime(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_census_site_id")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_census_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_census")),
        sa.UniqueConstraint("study_id", "series_uid", name=op.f("uq_census_study_id_series_uid")),
    )
    with op.batch_alter_table("census", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_census_next_try"), ["next_try"], unique=False)

    op.create_table(
        "commitment_request",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("site_id", KEY, nullable=False),
        sa.Column("parcel_id", KEY, nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("committed", sa.JSON(), nullable=False),
        sa.Column("failures", sa.JSON(), nullable=False),
        sa.Column("asked_at", UtcTime(), nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.Column("answered_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["parcel_id"], ["parcel.id"], name=op.f("fk_commitment_request_parcel_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_commitment_request_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_request")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_commitment_request_transaction_uid")),
    )
    with op.batch_alter_table("commitment_request", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commitment_request_parcel_id"), ["parcel_id"], unique=False)
