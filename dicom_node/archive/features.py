"""What records and genomes say of patients: documents as received, and the features taken from them.

A document is kept once, by its digest. Of each thing in a source that says something (``Feature.source``) one version
counts per feature: the latest. What a source takes back is not forgotten, it only counts no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from dicom_node.archive.database import Database, db_now
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.schema import document, feature, identity, identity_event, patient_record, study
from dicom_node.archive.sealing import Vault, opened
from dicom_node.domain.feature import Feature
from dicom_node.errors import LedgerError

_SITE = 1
_LONGEST_CHAIN = 16  # of merges


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A source as it was received."""

    kind: str  # fhir, hl7, vcf …
    source: str  # where it is from, as the site calls it
    digest: str  # SHA-256, hexadecimal
    path: str  # of the kept file, as the ledger names it; of one that stays where it is, the whole path
    content: bytes | None = None  # sealed where there is a key; of one that is kept in the ledger, and has no path


@dataclass(frozen=True, slots=True)
class PatientRecord:
    """A patient, as a system other than the images' calls and describes them."""

    source: str  # the system
    reference: str  # what it calls the patient
    attributes: Mapping[str, str]  # PatientName, PatientBirthDate (YYYYMMDD), PatientSex (F, M, O)
    standing: str = "current"  # current, replaced, deleted


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a document."""

    document_id: int
    known: bool  # the same bytes were here before
    features: int  # that are new, or say something else than before


def keep(store: ObjectStore, kind: str, source: str, data: bytes, vault: Vault | None = None) -> NewDocument:
    """Write a document as it was received, durably, readable by the node's user alone, and sealed where there is a key.

    Raises:
        LedgerError: it is here already, and its key is not.
    """
    found = hashlib.sha256(data).hexdigest()
    name = f"{kind}/{found[:2]}/{found}"
    path = store.places.documents / name
    if path.exists():
        if hashlib.sha256(opened(vault, path.read_bytes(), found)).hexdigest() != found:
            raise LedgerError(f"{path} holds something else", reason="result-exists", remedy="restore it from a backup")
    else:
        path = store.write_document(name, data if vault is None else vault.seal(data, found))
    return NewDocument(kind, source, found, store.relative(path))


def keep_small(kind: str, source: str, data: bytes, vault: Vault | None = None) -> NewDocument:
    """A document that the ledger itself keeps, with what is taken from it: durable at once with that."""
    found = hashlib.sha256(data).hexdigest()
    return NewDocument(kind, source, found, "", data if vault is None else vault.seal(data, found))


def read_document(store: ObjectStore, document: NewDocument, vault: Vault | None = None) -> bytes:
    """A document as it was received.

    Raises:
        LedgerError: it is not there any more, or its key is not here.
    """
    data = store.read_document(document.path) if document.content is None else document.content
    return opened(vault, data, document.digest)


class Features:
    """Documents, patients' records and features in the ledger. Threads may share one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._checked = database.vault is not None  # that nothing is sealed that we would write in clear beside

    @property
    def vault(self) -> Vault | None:
        """What seals, where there is a key."""
        return self._database.vault

    def identity(self, issuer: str, patient_id: str) -> int:
        """The row of a patient, by (issuer, id); made where there is none.

        Raises:
            LedgerError: another process makes it just now.
        """
        with self._writing() as connection:
            key = {"site_id": _SITE, "issuer": issuer, "patient_id": patient_id}
            found = connection.execute(select(identity.c.id).filter_by(**key)).scalar()
            if found is None:
                # As images would make it: nobody has told anything that results would have to say.
                values: dict[str, Any] = {**key, "attributes": {}, "revision": 1, "source": "dicom"}
                made = insert(identity).values(**values, changed_at=db_now()).returning(identity.c.id)
                found = connection.execute(made).scalar_one()
            return int(found)

    def find(self, issuer: str, patient_id: str) -> int | None:
        """The row of a patient, by (issuer, id), or None."""
        with self._database.read() as connection:
            key = {"site_id": _SITE, "issuer": issuer, "patient_id": patient_id}
            found = connection.execute(select(identity.c.id).filter_by(**key)).scalar()
            return None if found is None else int(found)

    def take(
        self,
        identity_id: int,
        new: NewDocument,
        features: Iterable[Feature],
        *,
        record: PatientRecord | None = None,
        gone: Mapping[str, str] | None = None,
    ) -> Taken:
        """Take in what a document says of one patient; the same document again changes nothing.

        ``gone``: source of features -> why it says nothing any more, e.g. it was entered in error.

        Raises:
            LedgerError: another process takes in the same just now.
        """
        with self._writing() as connection:
            if not self._checked:
                connection.execute(select(feature.c.content).order_by(feature.c.id.desc()).limit(1)).scalar()
                self._checked = True
            document_id, known = _document(connection, identity_id, new)
            if record is not None:
                _tell(connection, identity_id, document_id, record)
            changed = sum(_put(connection, identity_id, document_id, each) for each in features)
            for source, why in (gone or {}).items():
                of_source = (feature.c.source == source, feature.c.identity_id == identity_id)
                _retire(connection, [*of_source], why)
        return Taken(document_id, known, changed)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._database.write() as connection:
                yield connection
        except IntegrityError as error:
            raise LedgerError(
                "another process writes of the same patient just now", reason="busy", remedy="try again"
            ) from error

    def of_patient(self, identity_id: int, names: Collection[str] = ()) -> tuple[Feature, ...]:
        """Features that count, of a patient and of all who were merged into them; of these names, or all."""
        with self._database.read() as connection:
            where = [feature.c.identity_id.in_(merged(connection, identity_id)), feature.c.current.is_(True)]
            if names:
                where.append(feature.c.name.in_(names))
            rows = connection.execute(select(feature.c.content).where(*where).order_by(feature.c.id)).scalars()
            return tuple(Feature.from_json(content) for content in rows)

    def records(self, identity_id: int) -> tuple[PatientRecord, ...]:
        """How other systems describe a patient, and all who were merged into them."""
        with self._database.read() as connection:
            where = patient_record.c.identity_id.in_(merged(connection, identity_id))
            rows = connection.execute(select(patient_record).where(where).order_by(patient_record.c.id)).all()
        return tuple(PatientRecord(row.source, row.reference, row.attributes, row.standing) for row in rows)

    def studies(self, identity_id: int) -> tuple[int, ...]:
        """Row ids of the studies of a patient, and of all who were merged into them, oldest first."""
        with self._database.read() as connection:
            mine = merged(connection, identity_id)
            which = or_(study.c.identity_id.in_(mine), study.c.moved_to.in_(mine))
            return tuple(connection.execute(select(study.c.id).where(which).order_by(study.c.id)).scalars())

    def numbers_of(self, identity_id: int) -> frozenset[str]:
        """Patient IDs of a patient, and of all who were merged into them."""
        with self._database.read() as connection:
            mine = identity.c.id.in_(merged(connection, identity_id))
            return frozenset(connection.execute(select(identity.c.patient_id).where(mine)).scalars())

    def patients(self, patient_id: str, issuer: str | None = None) -> tuple[tuple[int, str], ...]:
        """Rows and issuers of the patients of that number; of one issuer, or of all."""
        where = [identity.c.patient_id == patient_id, identity.c.site_id == _SITE]
        if issuer is not None:
            where.append(identity.c.issuer == issuer)
        with self._database.read() as connection:
            rows = connection.execute(select(identity.c.id, identity.c.issuer).where(*where).order_by(identity.c.id))
            return tuple((int(row.id), row.issuer) for row in rows)

    def history(self, identity_id: int) -> tuple[dict[str, Any], ...]:
        """What authorities told of a patient and of all who were merged into them, as it happened."""
        with self._database.read() as connection:
            mine = connection.execute(
                select(identity.c.issuer, identity.c.patient_id).where(
                    identity.c.id.in_(merged(connection, identity_id))
                )
            ).all()
            rows = connection.execute(select(identity_event).order_by(identity_event.c.at, identity_event.c.id)).all()
        people = {(row.issuer, row.patient_id) for row in mine}
        named = [(row, {tuple(row.content[key]) for key in ("patient", "into") if key in row.content}) for row in rows]
        return tuple(
            {"at": row.at, "kind": row.kind, "source": row.source, "event": row.event_id, **row.content}
            for row, who in named
            if who & people
        )

    def documents(self, identity_id: int) -> tuple[tuple[NewDocument, datetime], ...]:
        """What was received of a patient, and when."""
        with self._database.read() as connection:
            where = document.c.identity_id.in_(merged(connection, identity_id))
            rows = connection.execute(select(document).where(where).order_by(document.c.id)).all()
        return tuple(
            (NewDocument(row.kind, row.source, row.digest, row.path, row.content), row.received_at) for row in rows
        )


# Made once: making them again for each message takes longer than the database does.
_DOCUMENT = select(document.c.id, document.c.identity_id).where(
    document.c.site_id == _SITE, document.c.kind == bindparam("kind"), document.c.digest == bindparam("digest")
)
_NEW_DOCUMENT = insert(document).values(received_at=db_now()).returning(document.c.id)
_RECORD = select(patient_record).where(
    patient_record.c.source == bindparam("source"),
    patient_record.c.reference == bindparam("reference"),
    patient_record.c.identity_id == bindparam("identity_id"),
)
_NEW_RECORD = insert(patient_record).values(changed_at=db_now())
_FEATURE = select(feature).where(
    feature.c.source == bindparam("source"),
    feature.c.name == bindparam("name"),
    feature.c.identity_id == bindparam("identity_id"),
    feature.c.current.is_(True),
)
_NEW_FEATURE = insert(feature).values(extracted_at=db_now())


def _document(connection: Connection, identity_id: int, new: NewDocument) -> tuple[int, bool]:
    key = {"kind": new.kind, "digest": new.digest}
    row = connection.execute(_DOCUMENT, key).first()
    if row is None:
        values = {**key, "source": new.source[:255], "path": new.path, "content": new.content}
        made = connection.execute(_NEW_DOCUMENT, {**values, "site_id": _SITE, "identity_id": identity_id})
        return int(made.scalar_one()), False
    if row.identity_id is not None and row.identity_id != identity_id:
        connection.execute(update(document).where(document.c.id == row.id).values(identity_id=None))
    return int(row.id), True


def _tell(connection: Connection, identity_id: int, document_id: int, record: PatientRecord) -> None:
    key = {"source": record.source[:64], "reference": record.reference[:255]}
    values = {"attributes": dict(record.attributes), "standing": record.standing, "document_id": document_id}
    row = connection.execute(_RECORD, {**key, "identity_id": identity_id}).first()
    if row is None:
        connection.execute(_NEW_RECORD, {**key, **values, "site_id": _SITE, "identity_id": identity_id})
    elif (row.attributes, row.standing) != (values["attributes"], record.standing):
        chosen = update(patient_record).where(patient_record.c.id == row.id)
        connection.execute(chosen.values(**values, changed_at=db_now()))


def _put(connection: Connection, identity_id: int, document_id: int, new: Feature) -> bool:
    """Whether the feature is new, or says something else than what counted before."""
    same_thing = {"source": new.source, "name": new.name, "identity_id": identity_id}
    row = connection.execute(_FEATURE, same_thing).first()
    content = new.as_json()
    if row is not None:
        before = Feature.from_json(row.content)
        if row.content == content:
            return False
        if before.recorded_at and new.recorded_at and new.recorded_at < before.recorded_at:
            return False  # an earlier version that comes later
        _retire(connection, [feature.c.id == row.id], f"version {new.version or 'that came later'} says otherwise")
    values = {
        **same_thing,
        "site_id": _SITE,
        "document_id": document_id,
        "current": True,
        "content": content,
        "gone": "",
    }
    connection.execute(_NEW_FEATURE, values)
    return True


def _retire(connection: Connection, where: list[Any], why: str) -> None:
    connection.execute(update(feature).where(*where, feature.c.current.is_(True)).values(current=False, gone=why))


def merged(connection: Connection, identity_id: int) -> list[int]:
    """Rows of a patient, the one they were merged into at last, and all who were merged into that one."""
    last, seen = identity_id, {identity_id}
    while len(seen) < _LONGEST_CHAIN:
        onward = connection.execute(select(identity.c.replaced_by).where(identity.c.id == last)).scalar()
        if onward is None or onward in seen:
            break
        last = int(onward)
        seen.add(last)
    found, fresh = [last], [last]
    while fresh:
        merged = select(identity.c.id).where(identity.c.replaced_by.in_(fresh), identity.c.id.not_in(found))
        fresh = [int(number) for number in connection.execute(merged).scalars()]
        found += fresh
    return found
