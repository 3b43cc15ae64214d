"""What a destination's own record says of the images a result is about, and whether the result still fits it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from dicom_node.domain.changes import Changes
from dicom_node.domain.identifiers import is_valid_uid

COMPARED = ("PatientID", "IssuerOfPatientID", "AccessionNumber")
NO_CHANGES = Changes()


class Match(StrEnum):
    """How a result fits what its destination shows of the images."""

    SAME = "same"
    DIFFERENT = "different"  # another study, patient or order than the result names
    CONTRADICTORY = "contradictory"  # two patients in one study, or the images in two studies
    GONE = "gone"  # images that it had are not there any more
    UNKNOWN = "unknown"  # it does not have them, and we do not know that it ever had
    UNTOLD = "untold"  # it cannot be asked, or does not tell


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study as a destination shows it; what it does not tell is empty."""

    study_uid: str
    patient_id: str = ""
    issuer: str = ""
    accession_number: str = ""
    images: frozenset[str] = frozenset()  # SOP Instance UIDs of those that were asked for and are in it


@dataclass(frozen=True, slots=True)
class Subject:
    """What a result speaks of, as its objects have it."""

    said: Mapping[str, str]  # StudyInstanceUID and those of COMPARED; empty where absent
    images: Mapping[str, tuple[str, ...]]  # Series Instance UID -> SOP Instance UIDs that it was made of
    was_there: bool = False  # whether the destination is known to have had the images

    @property
    def study_uid(self) -> str:
        """The study that its objects stand in."""
        return self.said.get("StudyInstanceUID", "")

    @property
    def wanted(self) -> frozenset[str]:
        """SOP Instance UIDs of all images."""
        return frozenset(uid for uids in self.images.values() for uid in uids)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of the comparison."""

    match: Match
    words: str  # for people; names identifiers
    corrections: Mapping[str, str] = field(default_factory=dict)  # keyword -> what the result would have to say
    partly: bool = False  # some of the images are where they were

    @property
    def difference(self) -> str:
        """The same for the same matter: what a person has accepted once is not asked again."""
        told = "; ".join(f"{keyword}={value}" for keyword, value in sorted(self.corrections.items()))
        return f"{self.match}: {told or self.words}"


class Archive(Protocol):
    """What a destination is asked, in whatever way it is asked."""

    def studies(self, study_uid: str) -> Sequence[StudyRecord]:
        """What it shows for a study: one record, none, or several that contradict each other; without images."""

    def images(self, study_uid: str, series_uid: str) -> Iterable[str]:
        """SOP Instance UIDs in a series of a study."""

    def places(self, sop_uid: str) -> Iterable[tuple[str, str]]:
        """Study and series of an image that is sought by its UID alone; none where it does not tell."""


def gather(archive: Archive, study_uid: str, images: Mapping[str, Sequence[str]]) -> tuple[StudyRecord, ...]:
    """The study of this UID as a destination has it, and those that hold the images now.

    ``images``: Series Instance UID -> SOP Instance UIDs. Of the images that are not where they were, three are sought
    elsewhere.
    """
    wanted = frozenset(uid for uids in images.values() for uid in uids)
    home = archive.studies(study_uid)
    found = _inside(archive, study_uid, images if home else (), wanted)
    records = [replace(record, images=found) for record in home]
    missing = sorted(wanted - found)
    others: dict[str, dict[str, None]] = {}
    for uid in dict.fromkeys((*missing[:1], *missing[len(missing) // 2 :][:1], *missing[-1:])):
        for other_uid, series_uid in archive.places(uid):
            if other_uid != study_uid and is_valid_uid(other_uid) and is_valid_uid(series_uid):
                others.setdefault(other_uid, {})[series_uid] = None
    for other_uid, inside in others.items():
        held = _inside(archive, other_uid, inside, wanted)
        records += [replace(record, images=held) for record in archive.studies(other_uid)]
    return tuple(records)


def _inside(archive: Archive, study_uid: str, series_uids: Iterable[str], wanted: frozenset[str]) -> frozenset[str]:
    return frozenset(uid for series_uid in series_uids for uid in archive.images(study_uid, series_uid)) & wanted


def judge(subject: Subject, records: Sequence[StudyRecord], changes: Changes = NO_CHANGES) -> Verdict:
    """Compare what a result says, changed as this destination gets it, with the studies that the destination shows.

    ``records`` are the study that the result names and those that hold its images, as far as they are there.
    """
    home = subject.study_uid
    holding = [record for record in records if record.images]
    if disputed := _two_patients(records):
        return Verdict(Match.CONTRADICTORY, f"it shows two patients for study {disputed}")
    studies = dict.fromkeys(record.study_uid for record in holding)
    if len(studies) > 1:
        spread = ", ".join(f"{_held(holding, uid)} in {uid}" for uid in studies)
        return Verdict(Match.CONTRADICTORY, f"it shows the images in several studies: {spread}")
    missing = len(subject.wanted - frozenset(uid for record in holding for uid in record.images))
    if missing and subject.was_there:
        what = "the images are" if missing == len(subject.wanted) else f"{missing} of {len(subject.wanted)} images are"
        return Verdict(Match.GONE, f"{what} not there any more", partly=bool(holding))
    if not holding:
        # A study that holds none of the images may hold nothing but results of ours, which say what we said.
        known = any(record.study_uid == home for record in records)
        words = "it shows no image of this study" if known else "it does not know the study"
        return Verdict(Match.UNKNOWN, words)
    corrections, odd = _differences(subject, holding[0], changes)
    if corrections or odd:
        told = [f"{keyword} is {value!r}" for keyword, value in corrections.items()] + odd
        return Verdict(Match.DIFFERENT, "there " + ", ".join(told), {} if odd else corrections)
    return Verdict(Match.SAME, "its record says the same")


def _two_patients(records: Sequence[StudyRecord]) -> str:
    """The study that is shown with two patients; empty when there is none."""
    for one in records:
        for other in records:
            same_study = one.study_uid == other.study_uid and one.patient_id and other.patient_id
            two_issuers = one.issuer and other.issuer and one.issuer != other.issuer
            if same_study and (one.patient_id != other.patient_id or two_issuers):
                return one.study_uid
    return ""


def _held(records: Sequence[StudyRecord], study_uid: str) -> int:
    return len(frozenset(uid for record in records if record.study_uid == study_uid for uid in record.images))


def _differences(subject: Subject, shown: StudyRecord, changes: Changes) -> tuple[dict[str, str], list[str]]:
    """What the result would have to say; and what it could not say so that it arrives as the destination has it."""
    corrections = {} if shown.study_uid == subject.study_uid else {"StudyInstanceUID": shown.study_uid}
    odd = []
    for keyword, ours, theirs in _pairs(subject, shown):
        if not theirs or keyword in changes.set or keyword in changes.remove:
            continue  # it does not tell, or we decide what stands there
        if _expected(changes, keyword, ours) == theirs:
            continue
        if keyword == "IssuerOfPatientID" and not ours and "PatientID" not in corrections:
            continue  # an image without an issuer means the site's own
        original = changes.original(keyword, theirs)
        if original is None:
            odd.append(f"{keyword} is {theirs!r}, without the prefix of its entry")
        else:
            corrections[keyword] = original
    return corrections, odd


def _pairs(subject: Subject, shown: StudyRecord) -> Iterator[tuple[str, str, str]]:
    theirs = {
        "PatientID": shown.patient_id,
        "IssuerOfPatientID": shown.issuer,
        "AccessionNumber": shown.accession_number,
    }
    for keyword in COMPARED:
        yield keyword, subject.said.get(keyword, "").strip(), theirs[keyword].strip()


def _expected(changes: Changes, keyword: str, ours: str) -> str:
    try:
        return changes.value(keyword, ours) or ""
    except ValueError:
        return ""  # it will not be sent so either
