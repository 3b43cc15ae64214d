"""What a destination gets otherwise than we have it: a few attributes of patient, order and institution. Pure.

Only text of the top level that neither identifies an object nor describes its image may change (PS3.3 C.7). A removed
value still stands in the Original Attributes Sequence (C.12.1): this is coercion, not de-identification.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

SET, REMOVE, PREFIX = "set", "remove", "prefix"
_NUMBERED = frozenset((PREFIX,))  # one value for all patients, or none, would make them one
_LABEL = frozenset((SET, REMOVE))
_DETAIL = frozenset((REMOVE,))


@dataclass(frozen=True, slots=True)
class Changeable:
    """An attribute that may be changed."""

    tag: int
    vr: str
    actions: frozenset[str]


CHANGEABLE: Mapping[str, Changeable] = {
    "AccessionNumber": Changeable(0x00080050, "SH", _NUMBERED),
    "InstitutionName": Changeable(0x00080080, "LO", _LABEL),
    "InstitutionAddress": Changeable(0x00080081, "ST", _LABEL),
    "StationName": Changeable(0x00081010, "SH", _LABEL),
    "StudyDescription": Changeable(0x00081030, "LO", _LABEL),
    "InstitutionalDepartmentName": Changeable(0x00081040, "LO", _LABEL),
    "PatientID": Changeable(0x00100020, "LO", _NUMBERED),
    "IssuerOfPatientID": Changeable(0x00100021, "LO", _LABEL),
    "OtherPatientNames": Changeable(0x00101001, "PN", _DETAIL),
    "OtherPatientIDs": Changeable(0x00101000, "LO", _DETAIL),
    "PatientBirthName": Changeable(0x00101005, "PN", _DETAIL),
    "PatientAddress": Changeable(0x00101040, "LO", _DETAIL),
    "PatientMotherBirthName": Changeable(0x00101060, "PN", _DETAIL),
    "MilitaryRank": Changeable(0x00101080, "LO", _DETAIL),
    "PatientTelephoneNumbers": Changeable(0x00102154, "SH", _DETAIL),
    "EthnicGroup": Changeable(0x00102160, "SH", _DETAIL),
    "Occupation": Changeable(0x00102180, "SH", _DETAIL),
    "PatientReligiousPreference": Changeable(0x001021F0, "LO", _DETAIL),
    "PatientComments": Changeable(0x00104000, "LT", _DETAIL),
    "RequestingPhysician": Changeable(0x00321032, "PN", _DETAIL),
    "RequestingService": Changeable(0x00321033, "LO", _DETAIL),
}
LONGEST = {"SH": 16, "LO": 64, "ST": 1024}  # characters (PS3.5 6.2)


@dataclass(frozen=True, slots=True)
class Changes:
    """What one destination gets otherwise, by DICOM keyword."""

    set: Mapping[str, str] = field(default_factory=dict)
    prefix: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()

    @property
    def keywords(self) -> tuple[str, ...]:
        """Everything that may change."""
        return (*self.set, *self.prefix, *self.remove)

    def value(self, keyword: str, value: str | None) -> str | None:
        """What the destination knows instead of ``value``, also in queries; None: it has no value.

        Raises:
            ValueError: the new value is longer than its VR allows, or the old one is several values.
        """
        if keyword in self.set:
            return self.set[keyword]
        if keyword in self.remove:
            return None
        if keyword not in self.prefix or not value:
            return value
        if "\\" in value:
            raise ValueError(f"{keyword} has several values, {value!r}; a prefix goes before one")
        changed = self.prefix[keyword] + value
        longest = LONGEST[CHANGEABLE[keyword].vr]
        if len(changed) > longest:
            raise ValueError(
                f"{keyword} would be {changed!r}, {len(changed)} characters; VR {CHANGEABLE[keyword].vr} has {longest}"
            )
        return changed

    def original(self, keyword: str, value: str) -> str | None:
        """What we have where the destination knows ``value``; None: nothing of ours becomes that."""
        if keyword in self.set or keyword in self.remove:
            return None
        prefix = self.prefix.get(keyword, "")
        return value.removeprefix(prefix) if value.startswith(prefix) and value != prefix else None

    def faults(self) -> Iterator[tuple[str, str]]:
        """What cannot be done: path of the key, and why."""
        asked = {SET: self.set, PREFIX: self.prefix, REMOVE: dict.fromkeys(self.remove, "-")}
        seen: set[str] = set()
        for action, values in asked.items():
            for keyword, value in values.items():
                fault = _fault(action, keyword, value)
                if keyword in seen:
                    fault = "is changed twice"
                seen.add(keyword)
                if fault:
                    yield action, f"{keyword} {fault}"
        if "PatientID" in self.prefix and not self.set.get("IssuerOfPatientID"):
            yield PREFIX, "a changed PatientID needs its issuer: set = { IssuerOfPatientID = … } as well"


@dataclass(frozen=True, slots=True)
class Coercion:
    """Changes, with what the Original Attributes Sequence tells of them. The same one always gives the same bytes."""

    changes: Changes
    system: str  # Modifying System (0400,0563): our AE title
    at: datetime  # aware


def _fault(action: str, keyword: str, value: str) -> str:
    known = CHANGEABLE.get(keyword)
    if known is None or action not in known.actions:
        able = ", ".join(name for name, entry in CHANGEABLE.items() if action in entry.actions)
        return f"cannot be changed by {action!r}; these can: {able}"
    if not value or value != value.strip():
        return "needs a value without spaces at its ends"
    # What is ASCII is the same in every character set of DICOM, but for \ and ~ in ISO_IR 13.
    if not all(" " <= letter < "~" and letter != "\\" for letter in value):
        return "takes plain ASCII text without \\ and ~ only"
    longest = LONGEST.get(known.vr, 64)
    return f"takes {longest} characters at most (VR {known.vr})" if len(value) > longest else ""
