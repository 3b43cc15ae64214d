"""Observations of HL7 messages (OBX) -> features, by the mapping: pure.

OBX-11 decides (table 0085): F and C are values; P, R, S, I, X and O are none yet, or never; D and W take back what was
told before of the same order and observation.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

from dicom_node.domain.feature import Feature, FeatureState
from dicom_node.domain.finding import Code
from dicom_node.exchange.hl7v2 import Message, Segment, part, parts, time_of
from dicom_node.sidecars.ehr.mapping import FeatureMapping, Source, scheme_of

_FINAL = {"F": "final", "C": "corrected"}
_TAKEN_BACK = {"D": "deleted", "W": "posted as wrong"}


def features_of(
    message: Message, mapping: FeatureMapping, told_at: datetime, zone: tzinfo
) -> tuple[list[Feature], dict[str, str]]:
    """Features of a message, and sources that say nothing any more with the reason."""
    found: list[Feature] = []
    gone: dict[str, str] = {}
    if message.kind != "ORU":
        return found, gone
    order = Segment("OBR", ())
    for segment in message.segments:
        if segment.name == "OBR":
            order = segment
        elif segment.name == "OBX":
            for entry, code in _wanted(segment, mapping):
                source = _source(message, order, segment, code)
                status = part(segment.field(11), 1).upper()
                if status in _TAKEN_BACK:
                    gone[source] = f"it is {_TAKEN_BACK[status]} (OBX-11 {status})"
                else:
                    found.append(_feature(message, order, segment, entry, code, source, told_at, zone))
    return found, gone


def _wanted(segment: Segment, mapping: FeatureMapping) -> Iterator[tuple[Source, Code]]:
    told = parts(segment.field(3))
    codes = [
        (scheme_of(told[start + 2]), told[start], told[start + 1])
        for start in (0, 3)
        if len(told) > start + 2 and told[start]
    ]
    for entry in mapping.taking("Observation"):
        for scheme, code, meaning in codes:
            if entry.takes(scheme, code):
                yield entry, Code(code, scheme, meaning or entry.title)
                break


def _source(message: Message, order: Segment, segment: Segment, code: Code) -> str:
    """Names the observation, whichever message brings it: sender, filler's order number, code and sub-id."""
    number = part(order.field(3), 1) or part(order.field(2), 1) or message.control_id
    return f"hl7:{message.sender}/{number}/{code.scheme}-{code.value}/{part(segment.field(4), 1)}".rstrip("/")[:255]


def _feature(
    message: Message,
    order: Segment,
    segment: Segment,
    entry: Source,
    code: Code,
    source: str,
    told_at: datetime,
    zone: tzinfo,
) -> Feature:
    status = part(segment.field(11), 1).upper()
    at = time_of(segment.field(14), zone) or time_of(order.field(7), zone)
    value, unit, reason = _value(segment, entry)
    if status not in _FINAL:
        reason = f"its status is {status or 'not told'} (OBX-11)"
    elif at is None:
        reason = "it does not say on which day it was so"
    return Feature(
        name=entry.name,
        value=None if reason else value,
        unit=entry.unit if reason else unit,
        state=FeatureState.REJECTED if reason else FeatureState.PRESENT,
        code=code,
        effective_at=at,
        source=source,
        version=message.control_id,
        recorded_at=told_at,
        transform=entry.transform,
        status=_FINAL.get(status, status),
        reason=reason,
    )


def _value(segment: Segment, entry: Source) -> tuple[float | str | None, str, str]:
    """Value and unit in the feature's own, and why there is none."""
    kind, text = segment.field(2).strip().upper(), segment.field(5)
    if entry.values:
        told = parts(text)
        answer = entry.values.get((scheme_of(told[2]), told[0])) if len(told) > 2 else None
        return answer, "", "" if answer else "the mapping does not know the answer"
    if kind == "SN" and part(text, 1) in ("", "="):
        text = part(text, 2)
    elif kind != "NM":
        return None, "", f"it is no number (OBX-2 {kind or 'not told'})"
    try:
        number = float(text)
    except ValueError:
        return None, "", "it holds no number"
    return entry.converted(number, part(segment.field(6), 1))
