"""Parameters of a search (PS3.18 8.3.4 and 10.6.1.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from dicom_node.archive.dicom_json import dictionary_vr, resolved, tag_of
from dicom_node.archive.holdings import Narrowing
from dicom_node.domain.matching import Key, date_range, key

MOST_MATCHES = 10_000  # of one answer; more come with offset=
MOST_PARAMETERS = 200
_LONGEST_VALUE = 16_384  # characters
_TAG = re.compile(r"[0-9A-Fa-f]{8}")

_AVAILABILITY, _MODALITIES, _DATE = "00080056", "00080061", "00080020"
STUDY_UID, SERIES_UID, SOP_UID, MODALITY = "0020000D", "0020000E", "00080018", "00080060"
PATIENT_ID, ACCESSION = "00100020", "00080050"


class Level(Enum):
    """What is searched for."""

    STUDY = "studies"
    SERIES = "series"
    INSTANCE = "instances"


# What an answer always has (PS3.18 Tables 10.6.3-3 to 10.6.3-5), by level. The second ones only where they are known.
MANDATORY = {
    Level.STUDY: (
        *("00080005", _DATE, "00080030", ACCESSION, _AVAILABILITY, _MODALITIES, "00080090", "00081190"),
        *("00100010", PATIENT_ID, "00100030", "00100040", STUDY_UID, "00200010", "00201206", "00201208"),
    ),
    Level.SERIES: ("00080005", MODALITY, "00081190", STUDY_UID, SERIES_UID, "00200011", "00201209"),
    Level.INSTANCE: (
        *("00080005", "00080016", SOP_UID, _AVAILABILITY, "00081190", "00083002", STUDY_UID, SERIES_UID, "00200013"),
    ),
}
WHERE_KNOWN = {
    Level.STUDY: ("00080201",),
    Level.SERIES: ("00080201", "0008103E", "00400244", "00400245", "00400275"),
    Level.INSTANCE: ("00080201", "00280008", "00280010", "00280011", "00280100"),
}
# Attributes of patient and study (PS3.3 C.7.1, C.7.2), and what is counted of a study.
OF_STUDY = frozenset(
    (
        *("00080020", "00080030", "00080050", "00080051", "00080056", "00080061", "00080062", "00080090", "00080201"),
        *("00081030", "00081032", "00081048", "00081060", "00081110", "00100010", "00100020", "00100021", "00100022"),
        *("00100030", "00100032", "00100040", "00101000", "00101001", "00101002", "00101010", "00101020", "00101030"),
        *("00102160", "00102180", "001021B0", "00104000", "00102201", "00120062", "00120063", "0020000D", "00200010"),
        *("00201206", "00201208"),
    )
)


class QueryError(ValueError):
    """The parameters cannot be a search."""


@dataclass(frozen=True, slots=True)
class Query:
    """A search."""

    level: Level
    of_study: tuple[Key, ...]  # keys that studies match
    others: tuple[Key, ...]  # keys that series or instances match
    fields: frozenset[str]  # tags that are wanted besides the mandatory ones
    all_fields: bool
    limit: int
    offset: int
    capped: bool  # whether fewer matches are given at a time than were asked for, or no number was named

    @property
    def narrowing(self) -> Narrowing:
        """What the database can leave out."""
        by_tag = {each.tag: each for each in (*self.others, *self.of_study) if len(each.path) == 1}

        def single(tag: str) -> str:
            return by_tag[tag].single if tag in by_tag else ""

        def uids(tag: str) -> tuple[str, ...]:
            return by_tag[tag].uids if tag in by_tag else ()

        dates = date_range(by_tag[_DATE].text) if _DATE in by_tag and by_tag[_DATE].test else ("", "")
        modality = single(_MODALITIES) or (single(MODALITY) if self.level is not Level.STUDY else "")
        return Narrowing(
            study_uids=uids(STUDY_UID),
            patient_id=single(PATIENT_ID),
            accession_number=single(ACCESSION),
            dates=dates,
            modalities=(modality,) if modality else (),
            series_uids=uids(SERIES_UID),
            sop_uids=uids(SOP_UID),
        )


def parse(level: Level, parameters: Iterable[tuple[str, str]], path: Sequence[tuple[str, str]] = ()) -> Query:
    """The search that ``parameters`` of an address ask for; ``path``: tags and UIDs that its path names.

    Raises:
        QueryError: they cannot be understood; says which one and why.
    """
    given = list(parameters)
    if len(given) > MOST_PARAMETERS:
        raise QueryError(f"{len(given)} parameters; at most {MOST_PARAMETERS} are read")
    fuzzy = _fuzzy(given)
    fields: set[str] = set()
    limit, offset, keys = None, 0, [key((tag,), "UI", uid) for tag, uid in path]
    seen: dict[str, str] = {}
    for name, value in given:
        if len(value) > _LONGEST_VALUE:
            raise QueryError(f"the value of {name[:64]!r} is longer than {_LONGEST_VALUE} characters")
        lower = name.lower()
        if lower == "limit":
            limit = _count(name, value)
        elif lower == "offset":
            offset = _count(name, value)
        elif lower == "includefield":
            fields.update(_fields(value))
        elif lower not in ("fuzzymatching", "emptyvaluematching", "multiplevaluematching", "accept", "charset"):
            seen[name] = f"{seen[name]},{value}" if name in seen else value
    keys += [_key(name, value, fuzzy) for name, value in seen.items()]
    _check_level(level, keys)
    asked = MOST_MATCHES if limit is None else min(limit, MOST_MATCHES)
    return Query(
        level,
        tuple(each for each in keys if each.tag in OF_STUDY),
        tuple(each for each in keys if each.tag not in OF_STUDY),
        frozenset(fields - {"all"}),
        "all" in fields,
        asked,
        offset,
        limit is None or limit > MOST_MATCHES,
    )


def path_of(name: str) -> tuple[str, ...]:
    """Tags of an attribute's name: ``PatientID``, ``00100020``, ``RequestAttributesSequence.00400009``.

    Raises:
        QueryError: it is no attribute of PS3.6.
    """
    tags = []
    for part in name.split("."):
        tag = part.upper() if _TAG.fullmatch(part) else f"{tag_of(part) or 0:08X}"
        if tag == "00000000" or int(tag, 16) >> 16 < 8:
            raise QueryError(f"{name[:80]!r} is no attribute: it is named by its keyword or its tag, such as 00100020")
        tags.append(tag)
    return tuple(tags)


def _key(name: str, value: str, fuzzy: bool) -> Key:
    path = path_of(name)
    vr = resolved(dictionary_vr(int(path[-1], 16)), signed=False)
    if vr == "UN":
        raise QueryError(f"{name[:80]!r} has no VR in the dictionary, and cannot be searched for")
    try:
        return key(path, vr, value, fuzzy=fuzzy)
    except ValueError as error:
        raise QueryError(f"{name}: {error}") from None


def _check_level(level: Level, keys: Sequence[Key]) -> None:
    for each in keys:
        if level is Level.STUDY and each.tag not in OF_STUDY and each.tag not in (SERIES_UID, SOP_UID):
            hint = "ModalitiesInStudy" if each.tag == MODALITY else "/series or /instances"
            raise QueryError(f"{each.tag} is no attribute of studies: search by {hint}")
        if level is Level.SERIES and each.tag == SOP_UID:
            raise QueryError("00080018 is no attribute of series: search by /instances")


def _fields(value: str) -> Iterable[str]:
    for name in filter(None, (part.strip() for part in value.split(","))):
        yield "all" if name.lower() == "all" else path_of(name)[0]


def _fuzzy(given: Sequence[tuple[str, str]]) -> bool:
    told = next((value.strip().lower() for name, value in given if name.lower() == "fuzzymatching"), "false")
    if told not in ("true", "false"):
        raise QueryError(f"fuzzymatching is true or false, not {told[:20]!r}")
    return told == "true"


def _count(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise QueryError(f"{name} is a number of matches, not {value[:20]!r}")
    return int(value)
