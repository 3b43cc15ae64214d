"""Orders of HL7 messages (ORM, OMG, OMI) -> how urgent each is, and of which visit and account: pure.

The accession number stands in IPC-1 (OMI), else in the first of the fields that the site names; by default OBR-18, as
IHE Scheduled Workflow has it, then the filler's number. The priority stands in TQ1-9, in OBR-27 and ORC-7 (sixth
component), or in OBR-5 of old: table 0485 and its forerunner 0027.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dicom_node.domain.job import Priority
from dicom_node.exchange.hl7v2 import Message, Segment, part

KINDS = ("ORM", "OMG", "OMI")
_PRIORITIES = {
    "S": Priority.STAT,
    "STAT": Priority.STAT,
    "A": Priority.URGENT,
    "ASAP": Priority.URGENT,
    "R": Priority.ROUTINE,
    "ROUTINE": Priority.ROUTINE,
    "P": Priority.ROUTINE,  # before an operation
    "C": Priority.ROUTINE,  # call back
    "T": Priority.URGENT,  # timing critical
}
_OFF = ("CA", "OC", "DC", "OD", "CR", "UA")  # ORC-1: cancelled, discontinued, not to be done
_NONE = Segment("", ())


@dataclass(frozen=True, slots=True)
class OrderTold:
    """One order of a message."""

    accession_number: str
    priority: Priority | None  # None: the message does not say, or says what nobody knows
    visit: str  # PV1-19
    account: str  # PID-18
    off: bool  # it is not to be done


def orders_of(message: Message, fields: Sequence[str]) -> Iterator[OrderTold]:
    """Orders that have an accession number; ``fields``: where it is looked for, such as ``OBR-18``."""
    if message.kind not in KINDS:
        return
    visit = part(message.first("PV1").field(19), 1)
    account = part(message.first("PID").field(18), 1)
    for group in _groups(message):
        number = _first(group, ("IPC-1", *fields))
        if number:
            off = part(group.get("ORC", _NONE).field(1), 1) in _OFF
            yield OrderTold(number, _priority(group), visit[:64], account[:64], off)


def _groups(message: Message) -> Iterator[dict[str, Segment]]:
    """The segments of each order, the first of each name; an order begins with ORC, or with OBR where there is none."""
    group: dict[str, Segment] = {}
    for segment in message.segments:
        begins = segment.name == "ORC" or (segment.name == "OBR" and "OBR" in group)
        if begins and group:
            yield group
            group = {}
        if begins or group or segment.name == "OBR":
            group.setdefault(segment.name, segment)
    if group:
        yield group


def _first(group: dict[str, Segment], fields: Sequence[str]) -> str:
    for field in fields:
        name, _, number = field.partition("-")
        if found := part(group.get(name, _NONE).field(int(number)), 1).strip():
            return found
    return ""


def _priority(group: dict[str, Segment]) -> Priority | None:
    obr = group.get("OBR", _NONE)
    told = (
        part(group.get("TQ1", _NONE).field(9), 1),
        part(obr.field(27).split("~")[0], 6),
        part(group.get("ORC", _NONE).field(7).split("~")[0], 6),
        part(obr.field(5), 1),
    )
    found = [_PRIORITIES[each.strip().upper()] for each in told if each.strip().upper() in _PRIORITIES]
    return min(found) if found else None
