"""What a destination's record says of a result's images, compared with what the result says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from dicom_node.domain.changes import Changes
from dicom_node.domain.record import Match, StudyRecord, Subject, gather, judge

HOME, AWAY = "1.2.3.1", "1.2.3.9"
IMAGES = {"1.2.3.1.1": ("1.2.3.1.1.1", "1.2.3.1.1.2")}
ALL = frozenset(IMAGES["1.2.3.1.1"])
SAID = {"StudyInstanceUID": HOME, "PatientID": "P1", "IssuerOfPatientID": "", "AccessionNumber": "A1"}
SUBJECT = Subject(SAID, IMAGES)
KNOWN = replace(SUBJECT, was_there=True)
SHOWN = StudyRecord(HOME, "P1", "", "A1", ALL)


def test_the_same_is_the_same() -> None:
    assert judge(SUBJECT, [SHOWN]).match is Match.SAME


@pytest.mark.parametrize(
    ("shown", "corrections"),
    [
        (replace(SHOWN, patient_id="P2"), {"PatientID": "P2"}),
        (replace(SHOWN, accession_number="A2"), {"AccessionNumber": "A2"}),
        (replace(SHOWN, study_uid=AWAY), {"StudyInstanceUID": AWAY}),
        (replace(SHOWN, patient_id="P2", issuer="HOSP"), {"PatientID": "P2", "IssuerOfPatientID": "HOSP"}),
        (
            StudyRecord(AWAY, "P2", "", "A2", ALL),
            {"StudyInstanceUID": AWAY, "PatientID": "P2", "AccessionNumber": "A2"},
        ),
    ],
)
def test_what_differs_is_named_as_the_result_would_have_to_say_it(
    shown: StudyRecord, corrections: dict[str, str]
) -> None:
    verdict = judge(KNOWN, [shown])
    assert (verdict.match, verdict.corrections) == (Match.DIFFERENT, corrections)
    for value in corrections.values():
        assert value in verdict.words


def test_what_is_not_told_does_not_differ() -> None:
    assert judge(KNOWN, [StudyRecord(HOME, "", "", "", ALL)]).match is Match.SAME
    assert judge(KNOWN, [replace(SHOWN, issuer="HOSP")]).match is Match.SAME  # ours without an issuer: the site's own
    with_issuer = replace(KNOWN, said={**SAID, "IssuerOfPatientID": "HOSP"})
    assert judge(with_issuer, [SHOWN]).match is Match.SAME
    assert judge(with_issuer, [replace(SHOWN, issuer="OTHER")]).corrections == {"IssuerOfPatientID": "OTHER"}


def test_images_that_were_there_and_are_not() -> None:
    verdict = judge(KNOWN, [])
    assert (verdict.match, verdict.partly) == (Match.GONE, False)
    verdict = judge(KNOWN, [replace(SHOWN, images=frozenset(list(ALL)[:1]))])
    assert (verdict.match, verdict.partly) == (Match.GONE, True)
    assert "1 of 2 images" in verdict.words
    assert judge(KNOWN, [replace(SHOWN, images=frozenset())]).match is Match.GONE


def test_images_that_may_never_have_been_there() -> None:
    assert judge(SUBJECT, []).match is Match.UNKNOWN
    # A study without them may hold nothing but earlier results of ours.
    verdict = judge(SUBJECT, [replace(SHOWN, images=frozenset(), patient_id="P2")])
    assert (verdict.match, verdict.words) == (Match.UNKNOWN, "it shows no image of this study")


def test_two_patients_and_two_studies_contradict() -> None:
    assert judge(KNOWN, [SHOWN, replace(SHOWN, patient_id="P2")]).match is Match.CONTRADICTORY
    assert judge(KNOWN, [replace(SHOWN, issuer="A"), replace(SHOWN, issuer="B")]).match is Match.CONTRADICTORY
    one, other = (frozenset((uid,)) for uid in sorted(ALL))
    split = judge(KNOWN, [replace(SHOWN, images=one), StudyRecord(AWAY, "P1", "", "A1", other)])
    assert split.match is Match.CONTRADICTORY
    assert split.words == f"it shows the images in several studies: 1 in {HOME}, 1 in {AWAY}"


def test_changes_of_a_destination_are_undone_before_it_is_compared() -> None:
    changes = Changes(set={"IssuerOfPatientID": "RESEARCH"}, prefix={"PatientID": "R-", "AccessionNumber": "R-"})
    shown = StudyRecord(HOME, "R-P1", "RESEARCH", "R-A1", ALL)
    assert judge(KNOWN, [shown], changes).match is Match.SAME
    assert judge(KNOWN, [replace(shown, patient_id="R-P2")], changes).corrections == {"PatientID": "P2"}
    odd = judge(KNOWN, [replace(shown, patient_id="P2")], changes)
    assert (odd.match, odd.corrections) == (Match.DIFFERENT, {})
    assert "without the prefix" in odd.words
    assert judge(KNOWN, [replace(shown, issuer="X")], changes).match is Match.SAME  # we decide what stands there


def test_the_same_difference_is_told_by_the_same_words() -> None:
    once, again = (judge(KNOWN, [replace(SHOWN, patient_id="P2")]) for _ in range(2))
    assert once.difference == again.difference == "different: PatientID=P2"
    assert judge(KNOWN, [replace(SHOWN, patient_id="P3")]).difference != once.difference


@dataclass
class Shelf:
    """What a destination has: study -> its record, series -> images."""

    records: dict[str, list[StudyRecord]]
    series: dict[tuple[str, str], list[str]]
    sought: list[str] = field(default_factory=list)
    tells_places: bool = True

    def studies(self, study_uid: str) -> Sequence[StudyRecord]:
        return self.records.get(study_uid, [])

    def images(self, study_uid: str, series_uid: str) -> list[str]:
        return self.series.get((study_uid, series_uid), [])

    def places(self, sop_uid: str) -> list[tuple[str, str]]:
        self.sought.append(sop_uid)
        return [place for place, uids in self.series.items() if sop_uid in uids] if self.tells_places else []


def test_images_are_found_where_they_are() -> None:
    shelf = Shelf({HOME: [StudyRecord(HOME, "P1")]}, {(HOME, "1.2.3.1.1"): [*ALL, "1.2.3.1.1.3"]})
    assert gather(shelf, HOME, IMAGES) == (StudyRecord(HOME, "P1", images=ALL),)
    assert shelf.sought == []


def test_images_are_sought_elsewhere_when_they_are_not_where_they_were() -> None:
    shelf = Shelf({AWAY: [StudyRecord(AWAY, "P2")]}, {(AWAY, "1.2.3.1.1"): [*ALL]})
    assert gather(shelf, HOME, IMAGES) == (StudyRecord(AWAY, "P2", images=ALL),)
    shelf.tells_places = False
    assert gather(shelf, HOME, IMAGES) == ()


def test_a_place_that_is_no_uid_is_not_gone_to() -> None:
    shelf = Shelf({"../x": [StudyRecord("../x", "P2")]}, {("../x", "1.2"): [*ALL]})
    assert gather(shelf, HOME, IMAGES) == ()


def test_few_of_many_images_are_sought() -> None:
    many = {"1.2.3.1.1": tuple(f"1.2.3.1.1.{number}" for number in range(1, 500))}
    shelf = Shelf({}, {})
    gather(shelf, HOME, many)
    assert len(shelf.sought) == 3
