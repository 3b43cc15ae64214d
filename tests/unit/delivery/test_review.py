"""What a destination changes after results were delivered there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from studies_of_results import Clinic
from wards import Ward

from dicom_node.archive import open_items, schema
from dicom_node.delivery.review import MOST_DOUBTS, Review
from dicom_node.domain.parcel import ParcelState
from dicom_node.errors import PeerError


class Delivered(Ward):
    """A result that was delivered some days ago, to a PACS that had the images as it names them."""

    def __init__(self, clinic: Clinic, days: float = 1.5, **entry: Any) -> None:
        super().__init__(clinic, **entry)
        self.shows()
        self.bench.run()
        assert self.parcel.state == ParcelState.PRESENT
        self.age(days)

    def age(self, days: float) -> None:
        """So many days pass."""
        table, then = schema.parcel, datetime.now(UTC) - timedelta(days=days)
        with self.clinic.database.write() as connection:
            connection.execute(update(table).where(table.c.sent_at.is_not(None)).values(sent_at=then, reviewed_at=None))

    def review(self, passes: int = 1) -> list[int]:
        """How many results were asked about in each pass; there is no pause before a second look."""
        asked = Review(self.bench.settings, self.bench.parcels, self.bench.destinations, again_s=-1.0)
        return [asked.tick() for _ in range(passes)]

    def items(self) -> list[str]:
        return [item.kind for item in open_items.listed(self.clinic.database)]


def test_what_is_as_it_was_is_asked_about_once_a_day(clinic: Clinic) -> None:
    ward = Delivered(clinic)
    assert ward.review(3) == [1, 0, 0]
    assert (ward.parcel.state, ward.parcel.record) == (ParcelState.PRESENT, "its record says the same")
    assert not ward.items()


@pytest.mark.parametrize("days", [0.5, 4.0])
def test_neither_on_the_first_day_nor_when_some_have_passed(clinic: Clinic, days: float) -> None:
    assert Delivered(clinic, days).review() == [0]


def test_nor_a_peer_that_is_not_to_be_asked(clinic: Clinic) -> None:
    ward = Ward(clinic, check=False)
    ward.bench.run()
    assert Delivered.review(ward) == [0]  # type: ignore[arg-type]


def test_a_merge_in_the_pacs_is_written_anew_where_its_record_rules(clinic: Clinic) -> None:
    ward = Delivered(clinic, on_difference="reissue", rejection_notes=True)
    ward.shows(patient_id="P-NEW")
    assert ward.review(MOST_DOUBTS) == [1] * MOST_DOUBTS
    assert clinic.states() == [("pacs", "cancelled"), ("pacs", "due")]
    assert clinic.states("withdrawal") == [("pacs", "due")]
    ward.bench.run(2)
    assert clinic.states() == [("pacs", "cancelled"), ("pacs", "present")]
    assert ward.review() == [0]


def test_else_a_person_is_told_once(clinic: Clinic) -> None:
    ward = Delivered(clinic)
    ward.shows(patient_id="P-NEW")
    ward.review(MOST_DOUBTS)
    assert ward.items() == ["record-differs"]
    ward.age(2)
    ward.review(MOST_DOUBTS)
    assert ward.items() == ["record-differs"]
    assert ward.parcel.state == ParcelState.PRESENT


def test_images_that_were_deleted_are_told(clinic: Clinic) -> None:
    ward = Delivered(clinic, on_gone="cancel")
    ward.peer.record = lambda subject: ()
    ward.review(MOST_DOUBTS)
    (item,) = open_items.listed(clinic.database)
    assert item.kind == "images-gone"
    assert "results withdraw" in item.remedy


def test_one_answer_that_does_not_fit_is_no_news(clinic: Clinic) -> None:
    ward = Delivered(clinic)
    ward.shows(patient_id="P-NEW")
    ward.review(MOST_DOUBTS - 1)
    ward.shows()
    ward.review()
    assert not ward.items()


def test_a_peer_that_is_down_is_asked_the_next_day(clinic: Clinic) -> None:
    ward = Delivered(clinic)

    def away(subject: object) -> Any:
        raise PeerError("connection refused", reason="refused")

    ward.peer.record = away
    assert ward.review(2) == [1, 0]
    assert not ward.items()
