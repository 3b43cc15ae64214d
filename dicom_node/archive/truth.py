"""What patient, study and order results must bear now: as the images say, unless somebody has corrected it since."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName
from sqlalchemy import Connection, select

from dicom_node.archive.inheritance import Inheritance
from dicom_node.archive.schema import identity, series, study

CORRECTABLE = (
    "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
    "StudyInstanceUID",
)  # fmt: skip
IDENTIFYING = ("PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyInstanceUID")
_LONGEST_CHAIN = 16  # of merges


@dataclass(frozen=True, slots=True)
class Truth:
    """Keyword -> value of what is known; keywords that are not in it are as the images have them."""

    told: Mapping[str, str]  # by identity events and corrections: all of it counts
    images: Mapping[str, str]  # by the images that count now: identifiers only
    divided: bool = False  # the series that were asked about belong to several studies or patients now

    @classmethod
    def of(cls, connection: Connection, study_id: int, series_ids: Collection[int] = ()) -> Truth:
        """Of a study, or of these series of it, as the ledger has it now."""
        row = connection.execute(select(study).where(study.c.id == study_id)).one()
        columns = (series.c.corrections, series.c.moved_to, series.c.attributes)
        moved = connection.execute(select(*columns).where(series.c.id.in_(series_ids))).all()
        ways = {(json.dumps(each.corrections, sort_keys=True), each.moved_to): each for each in moved}
        corrections, moved_to = dict(row.corrections), row.moved_to
        for each in ways.values():
            corrections |= each.corrections
            moved_to = each.moved_to or moved_to
        told = {**_patient(connection, moved_to or row.identity_id, moved=moved_to is not None), **corrections}
        images = _agreed([each.attributes for each in moved]) if series_ids else _agreed([row.attributes])
        return cls(told, images, len(ways) > 1)

    @property
    def study_uid(self) -> str:
        """Where the study is now; empty: where it was."""
        return self.told.get("StudyInstanceUID", "")

    def differences(self, said: Mapping[str, str]) -> dict[str, str]:
        """What an object that says ``said`` would have to say instead."""
        wanted = {**self.images, **self.told}
        return {key: value for key, value in wanted.items() if key in said and not same(key, said[key], value)}


def series_of(inputs: Any) -> tuple[int, ...]:
    """Row ids of the series that a job (its column ``inputs``) reads."""
    return tuple(int(selected["series"]) for selected in inputs.values())


def _agreed(told: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Identifiers that do not differ between several series."""
    found = {}
    for keyword in ("PatientID", "AccessionNumber"):
        values = {str(attributes[keyword]) for attributes in told if isinstance(attributes.get(keyword), str)} - {""}
        if len(values) == 1:
            found[keyword] = values.pop()
    return found


def said_by(dataset: Dataset) -> dict[str, str]:
    """What an object says of what can be corrected; an absent attribute is empty."""
    return {keyword: str(dataset.get(keyword) or "").strip(" \0") for keyword in CORRECTABLE}


def corrected(inherited: Inheritance, truth: Truth) -> Inheritance:
    """What an object takes over, with what was corrected since the images were made."""
    taken = Dataset()
    taken.update(inherited.patient_and_study)
    for keyword, value in truth.differences(said_by(taken)).items():
        put(taken, keyword, value)
    return replace(inherited, patient_and_study=taken)


def put(dataset: Dataset, keyword: str, value: str) -> None:
    """Set a correctable attribute, as it is told; an issuer that is not told goes."""
    if keyword == "IssuerOfPatientID" and not value:
        dataset.pop(keyword, None)
        return
    tag = tag_for_keyword(keyword)
    vr = dictionary_VR(keyword)
    # With an encoding of its own, or pydicom would keep the bytes it first wrote for every later character set.
    given: Any = PersonName(value, ("utf8",), validation_mode=config.IGNORE) if vr == "PN" else value
    dataset.add(DataElement(tag or 0, vr, given, validation_mode=config.IGNORE))


def _patient(connection: Connection, identity_id: int | None, *, moved: bool = False) -> dict[str, str]:
    """What authorities told of the patient that another one may have been merged into, or a study moved to."""
    seen: set[int] = set()
    row = None
    while identity_id is not None and identity_id not in seen and len(seen) < _LONGEST_CHAIN:
        seen.add(identity_id)
        row = connection.execute(select(identity).where(identity.c.id == identity_id)).one()
        identity_id = row.replaced_by
    if row is None or (len(seen) == 1 and row.source == "dicom" and not moved):
        return {}
    told = {
        key: str(row.attributes[key])
        for key in ("PatientName", "PatientBirthDate", "PatientSex")
        if key in row.attributes
    }
    found = {key: value for key, value in told.items() if value}
    if len(seen) > 1 or moved:
        found |= {"PatientID": row.patient_id, "IssuerOfPatientID": row.issuer}
    return found


def same(keyword: str, ours: str, other: str) -> bool:
    """Whether an object of ours that says ``ours`` need not be changed to say ``other``."""
    if keyword == "IssuerOfPatientID" and not ours:
        return True  # an image without an issuer means the site's own
    if keyword == "PatientName":
        return _name(ours) == _name(other)
    return ours.strip() == other.strip()


def _name(text: str) -> list[str]:
    return [group.rstrip("^ ") for group in text.rstrip("= ").split("=")]
