"""Measurement reports (PS3.16 TID 1500) of whoever made them: what each measurement group says, as it is coded there.

Strict in what counts, tolerant in what is read: a group needs what it is of; numbers without a value, items of other
kinds and whole sections that are not known are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from dicom_node.domain.lesion import Key, Said
from dicom_node.errors import InputError

_MEASUREMENTS = ("126010", "DCM")  # Imaging Measurements
_GROUP = ("125007", "DCM")  # Measurement Group
_TRACKING_ID = ("112039", "DCM")
_TRACKING_UID = ("112040", "DCM")
_FINDING = {("121071", "DCM"), ("276214006", "SCT")}  # Finding; Finding category
_DEEPEST = 12  # levels of a content tree that are looked into


@dataclass(frozen=True, slots=True)
class MeasuredGroup:
    """A measurement group."""

    number: int  # in its report, from 1
    tracking_id: str
    tracking_uid: str  # empty: it names none
    findings: frozenset[Key]  # what it is of
    said: Said


@dataclass(frozen=True, slots=True)
class MeasuredReport:
    """A report, and who stands behind it."""

    sop_uid: str
    patient_id: str
    verified_by: str  # Verifying Observer Name (0040,A075); empty: no person has verified it
    at: datetime | None  # of its content, naive as it stands there
    groups: tuple[MeasuredGroup, ...]


def read(file: Path) -> MeasuredReport:
    """A report's measurement groups; none of a report of another template.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        report = pydicom.dcmread(file)
        return MeasuredReport(
            sop_uid=str(report.get("SOPInstanceUID", "")),
            patient_id=str(report.get("PatientID", "") or "").strip(),
            verified_by=_verified_by(report),
            at=_content_time(report),
            groups=tuple(_group(number, item) for number, item in enumerate(_groups(report), start=1)),
        )
    except (OSError, InvalidDicomError, AttributeError, KeyError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"{file}: a report cannot be read: {error}", reason="unreadable-report") from error


def _verified_by(report: Any) -> str:
    """The person who verified it (PS3.3 C.17.2): the flag alone, without a name, is nobody's word."""
    if str(report.get("VerificationFlag", "")) != "VERIFIED":
        return ""
    names = [str(item.get("VerifyingObserverName", "")) for item in report.get("VerifyingObserverSequence") or ()]
    return next((name.replace("^", " ").strip() for name in names if name.strip("^ ")), "")


def _content_time(report: Any) -> datetime | None:
    day, hour = str(report.get("ContentDate", "") or ""), str(report.get("ContentTime", "") or "000000")
    try:
        return datetime.strptime(f"{day}{hour[:6]:0<6}", "%Y%m%d%H%M%S")  # noqa: DTZ007  as it stands there
    except ValueError:
        return None


def _groups(report: Any) -> Iterator[Any]:
    for container in report.get("ContentSequence") or ():
        if container.get("ValueType") == "CONTAINER" and _name(container) == _MEASUREMENTS:
            yield from (each for each in container.get("ContentSequence") or () if _name(each) == _GROUP)


def _group(number: int, group: Any) -> MeasuredGroup:
    tracking_id = tracking_uid = ""
    findings: set[Key] = set()
    numbers: list[tuple[Key, float, str, str]] = []
    answers: list[tuple[Key, Key, str]] = []
    for item in _items(group, _DEEPEST):
        kind, name = item.get("ValueType"), _name(item)
        if kind == "TEXT" and name == _TRACKING_ID:
            tracking_id = str(item.get("TextValue", ""))
        elif kind == "UIDREF" and name == _TRACKING_UID:
            tracking_uid = str(item.get("UID", ""))
        elif kind == "CODE" and item.get("ConceptCodeSequence"):
            answer = item.ConceptCodeSequence[0]
            if name in _FINDING:
                findings.add(_key(answer))
            answers.append((name, _key(answer), str(answer.get("CodeMeaning", ""))))
        elif kind == "NUM" and item.get("MeasuredValueSequence"):
            measured = item.MeasuredValueSequence[0]
            unit = str(measured.MeasurementUnitsCodeSequence[0].get("CodeValue", ""))
            meaning = str(item.ConceptNameCodeSequence[0].get("CodeMeaning", ""))
            numbers.append((name, float(measured.NumericValue), unit, meaning))
    return MeasuredGroup(number, tracking_id, tracking_uid, frozenset(findings), Said(numbers, answers))


def _items(group: Any, levels: int) -> Iterator[Any]:
    """Items of a group and of sections within it; not what qualifies a number or an answer."""
    for item in group.get("ContentSequence") or ():
        yield item
        if item.get("ValueType") == "CONTAINER" and levels:
            yield from _items(item, levels - 1)


def _name(item: Any) -> Key:
    names = item.get("ConceptNameCodeSequence") or ()
    return _key(names[0]) if names else ("", "")


def _key(code: Any) -> Key:
    value = code.get("CodeValue") or code.get("LongCodeValue") or code.get("URNCodeValue") or ""
    return str(value), str(code.get("CodingSchemeDesignator", ""))
