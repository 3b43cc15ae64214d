"""The tables of the ledger. ``migrations/`` creates them; a test keeps the two equal.

The column ``site`` stands in every key from the start: a node may come to serve several departments.
JSON columns hold what is read whole and never searched.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from dicom_node.archive.columns import Key
from dicom_node.archive.columns import id_column as _id
from dicom_node.archive.columns import metadata as metadata
from dicom_node.archive.columns import site_column as _site
from dicom_node.archive.database import UtcTime
from dicom_node.archive.schema_commitment import commitment as commitment
from dicom_node.archive.schema_commitment import commitment_request as commitment_request
from dicom_node.archive.schema_corrections import identity_event as identity_event
from dicom_node.archive.schema_corrections import open_item as open_item
from dicom_node.archive.schema_corrections import rejection as rejection
from dicom_node.archive.schema_encodings import encoding_refusal as encoding_refusal
from dicom_node.archive.schema_features import document as document
from dicom_node.archive.schema_features import feature as feature
from dicom_node.archive.schema_features import patient_record as patient_record
from dicom_node.archive.schema_features import record_sync as record_sync
from dicom_node.archive.schema_orders import imaging_order as imaging_order
from dicom_node.archive.sealing import SealedJson

_UNDECIDED = text("decided_revision < revision")
_UNSETTLED = text("supersedes IS NOT NULL AND NOT settled")
_OWED = text("owed > 0")
_UNDIGESTED = text("digest = '' AND state <> 'rejected'")

installation = Table(
    "installation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("uuid", String(36), nullable=False),  # namespace of our UIDs
    Column("created_at", UtcTime, nullable=False),
)

site = Table(
    "site",
    metadata,
    _id(),
    Column("name", String(64), nullable=False, unique=True),
    Column("called_ae", String(16)),
    Column("time_zone", String(64)),
    Column("settings", JSON, nullable=False),
)

identity = Table(
    "identity",
    metadata,
    _id(),
    _site(),
    Column("issuer", String(64), nullable=False),
    Column("patient_id", String(255), nullable=False),
    Column("attributes", JSON, nullable=False),  # name, birth date, sex as last told
    Column("replaced_by", Key, ForeignKey("identity.id")),
    Column("revision", Integer, nullable=False),
    Column("source", String(64), nullable=False),  # what told it: dicom, hl7, …
    Column("changed_at", UtcTime, nullable=False),
    UniqueConstraint("patient_id", "issuer", "site_id"),
    Index(None, "replaced_by"),
)

study = Table(
    "study",
    metadata,
    _id(),
    _site(),
    Column("study_uid", String(64), nullable=False),
    Column("identity_id", Key, ForeignKey("identity.id")),
    Column("state", String(16), nullable=False),  # open, ready, held
    Column("first_received", UtcTime, nullable=False),
    Column("last_received", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    # Counted by every write to the row, so that no change between the rules' look and their answer is overlooked.
    Column("revision", Integer, nullable=False, default=1, onupdate=text("revision + 1")),
    Column("decided_revision", Integer, nullable=False, default=0),  # the one the rules last looked at
    Column("patient_id", String(255)),  # of its attributes, to be found by
    Column("accession_number", String(255)),  # likewise
    Column("outcome", Text, nullable=False),  # what the rules made of it, in words
    Column("readiness", JSON, nullable=False),  # evidence: by, reason, at
    Column("attributes", JSON, nullable=False),
    Column("order_id", Key, ForeignKey("imaging_order.id")),  # none: not looked for yet
    Column("corrections", JSON, nullable=False, default=dict),  # keyword -> value that results say instead of theirs
    Column("moved_to", Key, ForeignKey("identity.id")),  # the patient it was moved to; none: the one of its images
    Column("owed", Integer, nullable=False, default=0),  # objects a rule sends on, with neither parcel nor reason
    UniqueConstraint("study_uid", "site_id"),
    Index(None, "state", "last_received"),
    Index(None, "last_received"),
    Index(None, "identity_id"),
    Index(None, "patient_id"),
    Index(None, "accession_number"),
    Index(None, "order_id"),
    # The few that the rules have yet to look at.
    Index("ix_study_undecided", "changed_at", sqlite_where=_UNDECIDED, postgresql_where=_UNDECIDED),
    Index("ix_study_owed", "owed", sqlite_where=_OWED, postgresql_where=_OWED),
)

series = Table(
    "series",
    metadata,
    _id(),
    _site(),
    Column("study_id", Key, ForeignKey("study.id"), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("instances", Integer, nullable=False),  # current ones
    Column("origin", String(16), nullable=False),
    Column("peer", String(64), nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False),
    Column("first_received", UtcTime, nullable=False),
    Column("last_received", UtcTime, nullable=False),
    Column("association_ended", UtcTime),  # hint: when the association that brought it last ended
    Column("readiness", JSON, nullable=False),
    Column("attributes", JSON, nullable=False),  # what all its current instances agree on
    Column("varying", JSON, nullable=False),  # keywords on which they differ
    Column("corrections", JSON, nullable=False, default=dict),  # as those of its study; what it alone was moved by
    Column("moved_to", Key, ForeignKey("identity.id")),  # likewise
    UniqueConstraint("study_id", "series_uid"),
    Index(None, "state", "last_received", "instances"),
)

instance = Table(
    "instance",
    metadata,
    _id(),
    _site(),
    Column("study_id", Key, ForeignKey("study.id")),  # null: rejected, its study is not known
    Column("series_id", Key, ForeignKey("series.id")),
    Column("sop_uid", String(255), nullable=False),
    Column("sop_class", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # current, superseded, rejected, conflict, hidden
    Column("reason", Text, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("digest", String(64), nullable=False),  # SHA-256 of the data set; empty until it has come to rest
    Column("transfer_syntax", String(64), nullable=False),
    Column("plane", JSON),  # geometry of the image, or of its frames; NULL: it has no position in the patient
    Column("frames", Integer, nullable=False),
    Column("instance_number", Integer),
    Column("path", String(255), nullable=False, unique=True),  # relative to the data directory
    Column("size", BigInteger, nullable=False),
    Column("peer", String(64), nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False),
    Column("association", String(64), nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("kept_until", UtcTime),  # a peer was told that we keep it: not to be deleted before
    UniqueConstraint("site_id", "sop_uid", "revision"),
    Index(None, "series_id", "state"),
    Index(None, "state"),
    Index("ix_instance_undigested", "series_id", sqlite_where=_UNDIGESTED, postgresql_where=_UNDIGESTED),
)

job = Table(
    "job",
    metadata,
    _id(),
    _site(),
    Column("study_id", Key, ForeignKey("study.id"), nullable=False),
    Column("key", String(64), nullable=False),  # domain.job.job_key
    Column("issue", Integer, nullable=False),  # raised by a rerun on purpose
    Column("state", String(16), nullable=False),
    Column("rule", String(64), nullable=False),
    Column("model", String(64), nullable=False),
    Column("model_version", String(32), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("inputs", JSON, nullable=False),  # role -> {"series": id, "instances": [id]}
    Column("parameters", JSON, nullable=False),
    Column("destinations", JSON, nullable=False),  # names of peers
    Column("withheld", JSON, nullable=False),  # name of peer -> why it gets nothing
    Column("features_digest", String(64), nullable=False),
    Column("explanation", JSON, nullable=False),  # why this rule chose this series
    Column("priority", Integer, nullable=False),  # 0 stat, 1 urgent, 2 routine
    Column("attempt", Integer, nullable=False),  # raised by each claim
    Column("excused", Integer, nullable=False),  # attempts that do not count
    Column("owner", String(128)),
    Column("lease_until", UtcTime),
    Column("progress", String(64), nullable=False),
    Column("published_at", UtcTime),  # last time its message was sent
    Column("run_after", UtcTime, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("error", JSON),  # of the last attempt: reason, message, remedy, traceback, output
    Column("timings", JSON, nullable=False),  # stage -> seconds
    Column("versions", JSON, nullable=False),
    Column("supersedes", Key, ForeignKey("job.id")),  # the job whose result this one replaces
    Column("question", String(255), nullable=False, default=""),  # what a waiting job needs a person's word on
    Column("priority_source", String(128), nullable=False, default="rule"),  # who said so
    Column("gpu_memory_mb", Integer, nullable=False, default=0),  # what a worker's GPU must have
    Column("labels", String(512), nullable=False, default=""),  # what a worker must have: domain.fitness.as_text
    Column("useful_until", UtcTime),  # a result is late from then on; none: never
    Column("replacement", JSON(none_as_null=True)),  # reason, title, by: a person has the earlier result replaced
    Column("gather_until", UtcTime),  # until when features are waited for; none: they are not, or no more
    Column(
        "features", SealedJson("job.features", none_as_null=True)
    ),  # as they were when they were gathered: at, match, values
    Column("settled", Boolean, nullable=False, default=False),  # whether the result it replaces was seen to
    Column("encodes", Key),  # the result set that it encodes anew from the findings; none: it runs its model
    UniqueConstraint("key", "issue"),
    Index("ix_job_unsettled", "supersedes", sqlite_where=_UNSETTLED, postgresql_where=_UNSETTLED),
    Index(None, "state", "priority", "id"),
    Index(None, "study_id"),
    Index(None, "gather_until"),
)

job_dependency = Table(
    "job_dependency",
    metadata,
    Column("job_id", Key, ForeignKey("job.id"), primary_key=True),
    Column("needs_job_id", Key, ForeignKey("job.id"), primary_key=True),
)

finding = Table(
    "finding",
    metadata,
    _id(),
    _site(),
    Column("job_id", Key, ForeignKey("job.id"), nullable=False),
    Column("kind", String(16), nullable=False),  # segment, measurement, …, map, comparison
    Column("state", String(16), nullable=False),  # proposed, confirmed, rejected
    Column("name", String(64), nullable=False),
    Column("content", JSON, nullable=False),  # codes, value, unit, segments, provenance
    Column("tracking_uid", String(64)),
    Index(None, "job_id"),
)

result_set = Table(
    "result_set",
    metadata,
    _id(),
    _site(),
    Column("job_id", Key, ForeignKey("job.id"), nullable=False),
    Column("profile", String(32), nullable=False),
    Column("state", String(16), nullable=False),  # to encode, encoded
    Column("standing", String(16), nullable=False),  # current, superseded, withdrawn, reissued, spare
    Column("manifest", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("purpose", String(16), nullable=False, default="result"),  # result, notice, withdrawal, assessment
    UniqueConstraint("job_id", "profile"),
)

artifact = Table(
    "artifact",
    metadata,
    _id(),
    _site(),
    Column("result_set_id", Key, ForeignKey("result_set.id"), nullable=False),
    Column("kind", String(16), nullable=False),  # seg, pm, sr, sr_series, sr_regions, assessment
    Column("sop_uid", String(64), nullable=False, unique=True),
    Column("sop_class", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("transfer_syntax", String(64), nullable=False),
    Column("digest", String(64), nullable=False),  # SHA-256 of the file
    Column("path", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Index(None, "result_set_id"),
)

parcel = Table(
    "parcel",
    metadata,
    _id(),
    _site(),
    Column("study_id", Key, ForeignKey("study.id"), nullable=False),
    Column("result_set_id", Key, ForeignKey("result_set.id")),
    Column("instances", JSON),  # ids, when received objects are routed on
    Column("destination", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # due, sent, present, committed, refused, held, cancelled
    Column("tries", Integer, nullable=False),
    Column("next_try", UtcTime, nullable=False),
    Column("error", JSON),
    Column("created_at", UtcTime, nullable=False),
    Column("sent_at", UtcTime),
    Column("rule", String(64)),  # that routes received objects on
    Column("taken", JSON, nullable=False, default=list),  # SOP Instance UIDs that the peer has stored
    Column("left_out", JSON, nullable=False, default=list),  # SOP Instance UIDs of the set that it goes without
    Column("refusals", Integer, nullable=False, default=0),  # tries in a row that the peer refused for good
    Column("verify_at", UtcTime),  # when a sent parcel is to be looked for in the peer; none: no more
    Column("checks", Integer, nullable=False, default=0),  # looks for it since it was sent last
    Column("losses", Integer, nullable=False, default=0),  # times it was answered with Success and then not found
    Column("verification", Text, nullable=False, default=""),  # what came of it, in words
    Column("claimed_by", String(128)),  # the lane that serves it: host:pid:courier/lane
    Column("claimed_until", UtcTime),  # lease of that lane
    Column("cleared", Text, nullable=False, default=""),  # difference to the peer's record that a person has accepted
    Column("doubts", Integer, nullable=False, default=0),  # looks in a row at which the peer's record did not fit
    Column("record", Text, nullable=False, default=""),  # what the peer's record said at the last look, in words
    Column("known", Boolean, nullable=False, default=False),  # whether the peer has ever shown the images
    Column("reviewed_at", UtcTime),  # when it was last asked how it has the images, after they were delivered
    UniqueConstraint("result_set_id", "destination"),
    Index(None, "state", "next_try"),
    Index(None, "study_id"),
    Index(None, "verify_at"),
    Index(None, "sent_at"),
    Index(None, "claimed_by"),
)

forwarding = Table(
    "forwarding",  # a received object that a rule sends on: one row per destination, whatever becomes of it
    metadata,
    Column("instance_id", Key, ForeignKey("instance.id"), primary_key=True, autoincrement=False),
    Column("destination", String(64), primary_key=True),
    Column("parcel_id", Key, ForeignKey("parcel.id")),  # none: it does not go there
    Column("reason", String(32), nullable=False),  # why it does not: came-from-there, too-many-revisions
    Index(None, "parcel_id"),
)

census = Table(
    "census",  # what a peer that sent images says it has of a series, or of a study
    metadata,
    _id(),
    _site(),
    Column("study_id", Key, ForeignKey("study.id"), nullable=False),
    Column("series_uid", String(64), nullable=False),  # empty: of the whole study
    Column("peer", String(64), nullable=False),  # who is asked
    Column("images", Integer),  # the last answer; none: it did not tell a number
    Column("note", Text, nullable=False),  # why there is no number
    Column("last_image", UtcTime, nullable=False),  # of ours, when the question came up
    Column("wanted_at", UtcTime, nullable=False),  # since when an answer is waited for
    Column("asked_at", UtcTime),  # the last answer, or the last vain try
    Column("tries", Integer, nullable=False),
    Column("next_try", UtcTime),  # none: it is not asked again
    UniqueConstraint("study_id", "series_uid"),
    Index(None, "next_try"),
)

event = Table(
    "event",
    metadata,
    _id(),
    _site(),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(32), nullable=False),  # "job done", "parcel sent", …
    Column("by", String(128), nullable=False),  # stage, worker or person
    Column("study_id", Key),
    Column("series_id", Key),
    Column("job_id", Key),
    Column("parcel_id", Key),
    Column("detail", JSON, nullable=False),
    Index(None, "study_id"),
    Index(None, "job_id"),
)

process = Table(
    "process",
    metadata,
    Column("name", String(128), primary_key=True),  # host:pid, as the owner of a job
    Column("kind", String(16), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("idle", Boolean, nullable=False),
    Column("since", UtcTime, nullable=False),  # it has been idle, or busy
    Column("detail", JSON, nullable=False),  # of a worker: device, and what it takes jobs from; of a node: its name, …
)

turn = Table(
    "turn",  # which of several nodes does a piece of work
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(128), nullable=False),  # host:pid
    Column("until", UtcTime, nullable=False),
)
