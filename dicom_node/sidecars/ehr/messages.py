"""HL7 messages -> ledger: who a patient is, merges that results follow, and observations as features.

Whatever is taken stands in the ledger, durably, before the answer is AA. The same message again changes nothing. AE: it
cannot be used; AR: it is not of a kind that is taken.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo

from dicom_node.archive import identities, open_items, orders
from dicom_node.archive.database import Database
from dicom_node.archive.features import Features, NewDocument, PatientRecord, keep, keep_small
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.identities import IdentityEvent, Kind, Patient
from dicom_node.domain.feature import BIRTH_DATE, SEX, Feature, FeatureState
from dicom_node.ehr_settings import EhrSettings, Hl7Settings
from dicom_node.errors import DicomNodeError, InputError, LedgerError
from dicom_node.exchange import hl7v2
from dicom_node.exchange.hl7v2 import Message, Segment
from dicom_node.sidecars.ehr.mapping import FeatureMapping
from dicom_node.sidecars.ehr.observations import features_of
from dicom_node.sidecars.ehr.orders import OrderTold, orders_of

log = logging.getLogger(__name__)

_MOST_ROWS = 100_000  # of identities that are remembered
_SMALL = 65_536  # bytes of a message that the ledger itself keeps: larger ones hold reports as documents
_ACCEPTED = ("ADT", "ORU", "ORM", "OMG", "OMI", "OML")
_MERGES = ("A40", "A34", "A47")  # A47: a number is another one from now on
_MOVES = ("A44", "A45")  # an account, a visit is another patient's
_UPDATES = ("A08", "A31")
_DELETIONS = ("A23", "A29")
_NOT_FOLLOWED = ("A35", "A36", "A39", "A41", "A42", "A46", "A48", "A49", "A50", "A51")
_SEX = {"F": "female", "M": "male", "O": "other"}


class NotTaken(InputError):
    """A message of a kind that is not taken: AR."""

    default_reason = "not-taken"


@dataclass(frozen=True, slots=True)
class _Person:
    """Whom a PID segment means."""

    patient: Patient
    attributes: dict[str, str]


class Messages:
    """Takes messages in. Threads may share one."""

    def __init__(
        self,
        settings: EhrSettings,
        database: Database,
        store: ObjectStore,
        mapping: FeatureMapping,
        zone: tzinfo = UTC,
    ) -> None:
        """``zone``: of times that say none."""
        self._settings = settings
        self._database = database
        self._features = Features(database)
        self._store = store
        self._mapping = mapping
        self._zone = zone
        self._lock = threading.Lock()
        self._rows_known: dict[Patient, int] = {}  # of identities that are committed
        self._rows_new: dict[Patient, int] = {}  # and of those that will be, with the messages at hand

    def answer(self, data: bytes) -> bytes:
        """Take one message in; the acknowledgement."""
        return self.answers([data])[0]

    def answers(self, batch: Sequence[bytes]) -> list[bytes]:
        """Take messages in, in their order, and make all of them durable at once; the acknowledgements.

        What cannot be used leaves nothing, and holds up none of the others.
        """
        with self._lock:
            self._rows_new = {}
            try:
                with self._database.together():
                    answers = [self._answer(data) for data in batch]
            except (LedgerError, OSError) as error:
                log.error("%d messages cannot be kept: %s", len(batch), type(error).__name__)
                return [self.not_kept(data) for data in batch]
            if len(self._rows_known) > _MOST_ROWS:
                self._rows_known = {}
            self._rows_known |= self._rows_new
            return answers

    def not_kept(self, data: bytes) -> bytes:
        """The answer to a message that could not be made durable."""
        try:
            message = hl7v2.parse(data)
        except InputError:
            message = None
        return hl7v2.acknowledge(message, "AE", "it cannot be kept; send it again")

    def _answer(self, data: bytes) -> bytes:
        message: Message | None = None
        before = dict(self._rows_new)
        try:
            with self._database.apart():
                message = hl7v2.parse(data)
                self._take(message, data)
        except NotTaken as error:
            self._rows_new = before  # what it made is undone
            return self._refused(message, "AR", error)
        except DicomNodeError as error:
            self._rows_new = before
            return self._refused(message, "AE", error)
        except OSError as error:
            self._rows_new = before
            log.error("a message of %s cannot be kept: %s", message.sender if message else "nobody", error.strerror)
            return hl7v2.acknowledge(message, "AE", "it cannot be kept; send it again")
        return hl7v2.acknowledge(message, "AA")

    def refuse(self, why: str) -> bytes:
        """The answer to what is no message."""
        return hl7v2.acknowledge(None, "AR", why)

    def _refused(self, message: Message | None, code: str, error: DicomNodeError) -> bytes:
        what = f"{message.kind}^{message.trigger} {message.control_id}" if message else "what is no message"
        log.warning("HL7 %s: %s answered with %s: %s", message.sender if message else "", what, code, error.reason)
        return hl7v2.acknowledge(message, code, error.message)

    def _take(self, message: Message, data: bytes) -> None:
        if message.kind not in _ACCEPTED:
            raise NotTaken(f"messages of type {message.kind} are not taken")
        if not message.version.startswith("2."):
            raise NotTaken(f"version {message.version} is not taken")
        if not message.control_id:
            raise InputError("it has no control id (MSH-10)", reason="no-control-id")
        if message.kind == "ADT" and message.trigger in _NOT_FOLLOWED:
            raise NotTaken(f"{message.trigger} is not followed; tell it by hand: dicom-node studies correct")
        segments = list(message.named("PID"))
        if not segments:
            raise InputError("it has no PID", reason="no-patient")
        people = [self._person(segment) for segment in segments]
        told_at = hl7v2.time_of(message.told_at, self._zone) or datetime.now(UTC)
        events = list(self._events(message, people, told_at))  # refused before anything is written
        told = list(orders_of(message, (self._settings.hl7 or Hl7Settings()).accession))
        self._check_orders(told, people[0].patient)
        source, vault = f"hl7:{message.sender}|{message.control_id}", self._features.vault
        small = len(data) <= _SMALL
        kept = keep_small("hl7", source, data, vault) if small else keep(self._store, "hl7", source, data, vault)
        self._describe(message, people, kept, told_at)
        for event in events:
            self._follow(event)
        for order in told:
            self._tell_order(order, message)

    def _check_orders(self, told: Sequence[OrderTold], patient: Patient) -> None:
        """Refuse orders whose images are of somebody else: an accession number that two systems use is no order."""
        if not told:
            return
        features = self._features
        row = features.find(patient.issuer, patient.patient_id)
        mine = {patient.patient_id, *(features.numbers_of(row) if row else ())}
        for order in told:
            others = orders.patients_of(self._database, order.accession_number)
            if others and not others & mine:
                raise InputError("images with its accession number are of another patient", reason="other-patient")

    def _tell_order(self, order: OrderTold, message: Message) -> None:
        """Let jobs know how urgent they are."""
        orders.describe(self._database, order.accession_number, order.visit, order.account)
        if order.priority is None and not order.off:
            return
        source = f"hl7:{message.sender}"
        note = "the order is not to be done" if order.off else ""
        priority = None if order.off else order.priority
        for issuer in orders.issuers_of(self._database, order.accession_number) or ("",):
            orders.set_priority(self._database, order.accession_number, issuer, priority, source, note)

    def _describe(self, message: Message, people: Sequence[_Person], kept: NewDocument, told_at: datetime) -> None:
        """Who the patients are, and what was observed of the first."""
        features, gone = features_of(message, self._mapping, told_at, self._zone)
        standing = "deleted" if message.trigger in _DELETIONS else "current"
        system = f"hl7:{message.facility or message.application}"[:64]
        for number, person in enumerate(people):
            record = None
            if message.kind == "ADT":
                record = PatientRecord(system, person.patient.patient_id, person.attributes, standing)
                features = _described(person, message, told_at)
            identity = self._row(person.patient)
            first = number == 0 or message.kind == "ADT"
            told = features if first else []
            self._features.take(identity, kept, told, record=record, gone=gone if first else None)

    def _row(self, patient: Patient) -> int:
        """The row of a patient, made where there is none."""
        found = self._rows_known.get(patient) or self._rows_new.get(patient)
        if found is None:
            found = self._rows_new[patient] = self._features.identity(patient.issuer, patient.patient_id)
        return found

    def _follow(self, event: IdentityEvent) -> None:
        try:
            identities.take(self._database, event, event.source)
        except LedgerError as error:
            if error.reason != "no-such-patient":  # an update of one of whom there is nothing changes nothing
                raise

    def _events(self, message: Message, people: Sequence[_Person], at: datetime) -> Iterator[IdentityEvent]:
        """What results have to follow."""
        if message.kind != "ADT":
            return
        told = hl7v2.time_of(message.first("EVN").field(2), self._zone) or at
        name = f"{message.control_id}@{message.told_at}"
        source = f"hl7:{message.sender}"[:64]
        changes: list[tuple[Kind, Patient, Patient | None, dict[str, str]]]
        if message.trigger in _MERGES:
            changes = [(Kind.MERGE, old, person.patient, person.attributes) for person, old in self._merges(message)]
        elif message.trigger in _UPDATES and people[0].attributes:
            changes = [(Kind.UPDATE, people[0].patient, None, people[0].attributes)]
        elif message.trigger == "A43":
            # The number stands with another person from now on; or it is another number there.
            moved = [(old, person) for person, old in self._merges(message)]
            changes = [
                (Kind.UPDATE, old, None, person.attributes)
                if old == person.patient
                else (Kind.MERGE, old, person.patient, person.attributes)
                for old, person in moved
            ]
        elif message.trigger == "A37" and len(people) > 1:
            changes = [(Kind.UNLINK, people[1].patient, None, {})]
        elif message.trigger in _MOVES:
            yield from self._moves(message, name, source, told)
            return
        else:
            return
        for number, (kind, patient, into, values) in enumerate(changes, start=1):
            for issued in self._rows(patient.issuer):
                mine = replace(patient, issuer=issued)
                theirs = into and (replace(into, issuer=issued) if into.issuer == patient.issuer else into)
                key = f"{name}#{number}{'' if issued else 'd'}"
                yield IdentityEvent(key[:128], source, told, kind, patient=mine, into=theirs, values=values)

    def _moves(self, message: Message, name: str, source: str, at: datetime) -> Iterator[IdentityEvent]:
        """Studies of a visit or account that is another patient's; of which nobody knows it, a person has to look."""
        number = 0
        for person, old, merge in self._pairs(message):
            of_visit = message.trigger == "A45"
            field = 5 if of_visit else 3
            which = hl7v2.part(merge.field(field), 1)
            if not which:
                raise InputError(f"{message.trigger} has no MRG-{field}", reason="incomplete-event")
            rows = [self._features.find(issuer, old.patient_id) for issuer in self._rows(old.issuer)]
            for study in orders.of_patients(self._database, [row for row in rows if row is not None]):
                mine = study.visit if of_visit else study.account
                if mine == which:
                    number += 1
                    key = f"{name}#{number}"[:128]
                    told = (key, source, at, Kind.MOVE)
                    yield IdentityEvent(*told, into=person.patient, study_uid=study.study_uid, values=person.attributes)
                elif not mine:
                    self._ask_a_person(study.study_id, f"{source} {name}", message.trigger, which, person.patient)

    def _ask_a_person(self, study_id: int, event: str, trigger: str, which: str, into: Patient) -> None:
        what = "visit" if trigger == "A45" else "account"
        reason = (
            f"{what} {which} is of patient {into.patient_id} now (HL7 {trigger}); no order says if this study is of it"
        )
        remedy = "if it is: dicom-node studies correct; then: dicom-node items close"
        with self._database.write() as connection:
            open_items.open_(connection, f"moved:{event}:{study_id}"[:160], "identity", study_id, None, reason, remedy)

    def _rows(self, issuer: str) -> tuple[str, ...]:
        """Issuers under which images of that issuer's numbers stand: those that name none stand under none."""
        return (issuer, "") if issuer == self._settings.default_issuer else (issuer,)

    def _merges(self, message: Message) -> Iterator[tuple[_Person, Patient]]:
        """Who stays and who goes."""
        return ((person, old) for person, old, _ in self._pairs(message))

    def _pairs(self, message: Message) -> Iterator[tuple[_Person, Patient, Segment]]:
        """Each MRG, which belongs to the PID before it."""
        person: _Person | None = None
        found = False
        for segment in message.segments:
            if segment.name == "PID":
                person = self._person(segment)
            elif segment.name == "MRG" and person is not None:
                found = True
                yield person, self._number(segment.field(1), "MRG-1"), segment
        if not found:
            raise InputError(f"{message.trigger} has no MRG", reason="incomplete-event")

    def _person(self, segment: Segment) -> _Person:
        patient = self._number(segment.field(3) or segment.field(2), "PID-3")
        names = [each.split("&")[0] for each in hl7v2.parts(segment.field(5).split("~")[0])[:5]]
        name = "^".join(names).rstrip("^").replace("\\", " ").replace("=", " ")
        birth = hl7v2.part(segment.field(7), 1)[:8]
        told = {
            "PatientName": name,
            "PatientBirthDate": birth if len(birth) == 8 and birth.isdigit() else "",
            "PatientSex": sex if (sex := hl7v2.part(segment.field(8), 1).upper()) in _SEX else "",
        }
        return _Person(patient, {keyword: value.strip() for keyword, value in told.items() if value.strip()})

    def _number(self, text: str, where: str) -> Patient:
        """The number of an assigner that the site names; there must be exactly one."""
        found = {
            Patient(number.value, issuer)
            for number in hl7v2.numbers(text)
            for issuer in {self._settings.issuer_of(authority) for authority in number.authorities} - {""}
        }
        if len(found) == 1:
            return found.pop()
        told = "no number of an assigner" if not found else "several numbers of assigners"
        raise InputError(f"{where} has {told} that ehr.identifiers names", reason="no-known-number")


def _described(person: _Person, message: Message, at: datetime) -> list[Feature]:
    """Birth date and sex as features."""
    source = f"hl7:{message.sender}/PID/{person.patient.patient_id}"
    birth, sex = person.attributes.get("PatientBirthDate", ""), person.attributes.get("PatientSex", "")
    told = {BIRTH_DATE: f"{birth[:4]}-{birth[4:6]}-{birth[6:]}" if birth else "", SEX: _SEX.get(sex, "")}
    return [
        Feature(
            name,
            value,
            "",
            FeatureState.PRESENT,
            source=source,
            version=message.control_id,
            recorded_at=at,
            transform=f"ehr:{name}",
        )
        for name, value in told.items()
        if value
    ]
