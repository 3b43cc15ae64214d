"""Taking out what records and genomes say of a patient, for good; and sealing what is kept by the key of now.

Forgetting removes documents with their files, records and features, and what jobs were given, of a patient and all who
were merged into them. Images and results stay: they have rules of their own. A message that names several patients goes
with each of them.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass

from sqlalchemy import JSON, Table, delete, null, or_, select, type_coerce, update

from dicom_node.archive import reads
from dicom_node.archive.database import Database
from dicom_node.archive.features import merged
from dicom_node.archive.files import ObjectStore, sync, sync_folder
from dicom_node.archive.schema import document, feature, job, patient_record, study
from dicom_node.archive.sealing import Vault, is_sealed_value, opened, sealed_bytes
from dicom_node.domain.job import UNFINISHED
from dicom_node.errors import LedgerError

_AT_ONCE = 200
_SEALED = ((feature, "content"), (patient_record, "attributes"), (job, "features"))


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much is gone."""

    documents: int
    features: int
    records: int
    jobs: int  # whose features were taken from them


def forget(database: Database, store: ObjectStore, identity_id: int, by: str, purpose: str) -> Forgotten:
    """Take out everything of a patient; files last, so that a command that is repeated finds what is left of them.

    Raises:
        LedgerError: a job that waits, or runs, was given features of theirs or will be.
    """
    with database.erasing() as connection:
        mine = merged(connection, identity_id)
        studies = select(study.c.id).where(or_(study.c.identity_id.in_(mine), study.c.moved_to.in_(mine)))
        open_jobs = select(job.c.id).where(
            job.c.study_id.in_(studies),
            job.c.state.in_(UNFINISHED),
            or_(job.c.features.is_not(None), job.c.gather_until.is_not(None)),
        )
        waiting = connection.execute(open_jobs).scalars().all()
        if waiting:
            raise LedgerError(
                f"jobs {', '.join(map(str, waiting))} use the record",
                reason="in-use",
                remedy="wait for them, or: dicom-node jobs cancel",
            )
        of_mine = select(feature.c.document_id).where(feature.c.identity_id.in_(mine))
        of_records = select(patient_record.c.document_id).where(patient_record.c.identity_id.in_(mine))
        shared = document.c.identity_id.is_(None) & or_(document.c.id.in_(of_mine), document.c.id.in_(of_records))
        chosen = select(document.c.id, document.c.path).where(or_(document.c.identity_id.in_(mine), shared))
        documents = connection.execute(chosen).all()
        ids = [row.id for row in documents]
        for table in (feature, patient_record):
            others = (table.c.document_id.in_(ids), table.c.identity_id.not_in(mine))
            connection.execute(update(table).where(*others).values(document_id=None))
        features = connection.execute(delete(feature).where(feature.c.identity_id.in_(mine))).rowcount
        records = connection.execute(delete(patient_record).where(patient_record.c.identity_id.in_(mine))).rowcount
        connection.execute(delete(document).where(document.c.id.in_(ids)))
        given = (job.c.study_id.in_(studies), job.c.features.is_not(None))
        jobs = connection.execute(update(job).where(*given).values(features=null())).rowcount
    documents = [row for row in documents if row.path]
    for row in documents:
        store.absolute(row.path).unlink(missing_ok=True)
    for folder in {store.absolute(row.path).parent for row in documents}:
        sync_folder(folder)
    reads.record(database, identity_id, by, purpose, (), kind=reads.FORGOTTEN)
    return Forgotten(len(ids), features, records, jobs)


def reseal(database: Database, store: ObjectStore, vault: Vault) -> tuple[int, int]:
    """Seal what is in clear, or sealed by an older key, by the key of now; how many files and how many values.

    Nothing is lost when it is broken off; it is begun again.

    Raises:
        LedgerError: a key of before is not here any more.
    """
    with database.read() as connection:
        documents = connection.execute(
            select(document.c.path, document.c.digest).where(document.c.path != "").order_by(document.c.id)
        ).all()
    files = sum(_reseal_file(store, row.path, row.digest, vault) for row in documents)
    values = sum(_reseal_rows(database, table, name, vault) for table, name in _SEALED)
    return files, values + _reseal_documents(database, vault)


def _reseal_file(store: ObjectStore, path: str, digest: str, vault: Vault) -> bool:
    data = store.read_document(path)
    if vault.is_current(data):
        return False
    file = store.absolute(path)
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as out:
            out.write(vault.seal(opened(vault, data, digest), digest))
        sync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(file)
    sync_folder(file.parent)
    return True


def _reseal_rows(database: Database, table: Table, name: str, vault: Vault) -> int:
    column, last, count = table.c[name], 0, 0
    raw = type_coerce(column, JSON(none_as_null=True)).label("raw")
    while True:
        with database.erasing() as connection:
            chosen = select(table.c.id, raw).where(table.c.id > last, column.is_not(None))
            rows = connection.execute(chosen.order_by(table.c.id).limit(_AT_ONCE)).all()
            for row in rows:
                if is_sealed_value(row.raw) and vault.is_current(sealed_bytes(row.raw)):
                    continue
                value = connection.execute(select(column).where(table.c.id == row.id)).scalar()
                connection.execute(update(table).where(table.c.id == row.id).values({name: value}))
                count += 1
        if not rows:
            return count
        last = rows[-1].id


def _reseal_documents(database: Database, vault: Vault) -> int:
    """Those that the ledger itself keeps."""
    last, count = 0, 0
    while True:
        with database.erasing() as connection:
            chosen = select(document.c.id, document.c.digest, document.c.content)
            small = (document.c.id > last, document.c.content.is_not(None))
            rows = connection.execute(chosen.where(*small).order_by(document.c.id).limit(_AT_ONCE)).all()
            for row in rows:
                if not vault.is_current(row.content):
                    data = vault.seal(opened(vault, row.content, row.digest), row.digest)
                    connection.execute(update(document).where(document.c.id == row.id).values(content=data))
                    count += 1
        if not rows:
            return count
        last = rows[-1].id
