"""What peers say they have: asked once for each state of a study, with pauses, and never for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from studies_of_results import Clinic

from dicom_node.archive import census
from dicom_node.archive.census import OF_STUDY, PAUSES_S, Question
from dicom_node.archive.schema import census as table
from dicom_node.archive.schema import series

LAST = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def question(clinic: Clinic) -> Question:
    """A study of which four images are here, and what is asked of its one series and of the whole."""
    (image, *_) = clinic.arrive()
    for uid in (OF_STUDY, str(image.SeriesInstanceUID)):
        assert census.want(clinic.database, 1, uid, "pacs", LAST).asked_at is None
    (found,) = census.due(clinic.database)
    assert found == Question(1, str(image.StudyInstanceUID), "pacs")
    return found


def series_uid(clinic: Clinic) -> str:
    with clinic.database.read() as connection:
        return str(connection.execute(select(series.c.series_uid)).scalar_one())


def number(clinic: Clinic, uid: str) -> int | None:
    return census.want(clinic.database, 1, uid, "pacs", LAST).images


def now_due(clinic: Clinic) -> bool:
    """Whether it will be asked again; if so, the pause is over."""
    with clinic.database.write() as connection:
        then = datetime.now(UTC) - timedelta(seconds=1)
        return bool(
            connection.execute(update(table).where(table.c.next_try.is_not(None)).values(next_try=then)).rowcount
        )


def test_an_answer_counts_until_another_image_comes(clinic: Clinic, question: Question) -> None:
    uid = series_uid(clinic)
    census.told(clinic.database, question, 4, {uid: 4})
    assert (number(clinic, OF_STUDY), number(clinic, uid)) == (4, 4)
    assert not now_due(clinic), "it has no more than we have"
    later = census.want(clinic.database, 1, uid, "pacs", LAST + timedelta(seconds=1))
    assert (later.images, later.asked_at) == (None, None)
    assert census.want(clinic.database, 1, uid, "other", LAST).peer == "other"


def test_one_that_has_more_is_asked_again_a_few_times(clinic: Clinic, question: Question) -> None:
    uid = series_uid(clinic)
    for _ in PAUSES_S:
        census.told(clinic.database, question, 9, {uid: 9})
        assert not census.due(clinic.database), "not before the pause is over"
        assert now_due(clinic)
        assert census.due(clinic.database) == (question,)
    census.told(clinic.database, question, 9, {uid: 9})
    assert not now_due(clinic)


def test_our_own_results_are_no_images_that_we_lack(clinic: Clinic, question: Question) -> None:
    images = clinic.arrive()
    job_id = clinic.plan()
    clinic.commit(job_id, images)
    own = {made.series_uid: 1 for made in clinic.ledger.artifacts(job_id)}
    census.told(clinic.database, question, 4 + len(own), {series_uid(clinic): 4, **own})
    assert number(clinic, OF_STUDY) == 4


def test_one_that_cannot_tell_is_noted_and_left_alone(clinic: Clinic, question: Question) -> None:
    census.told(clinic.database, question, None, {})
    told = census.want(clinic.database, 1, OF_STUDY, "pacs", LAST)
    assert (told.images, told.note) == (None, "pacs does not tell how many images it has")
    assert not now_due(clinic)


def test_one_that_cannot_be_asked_is_not_asked_again_for_the_same_images(clinic: Clinic, question: Question) -> None:
    census.untold(clinic.database, question, "it is away")
    told = census.want(clinic.database, 1, OF_STUDY, "pacs", LAST)
    assert (told.note, told.asked_at is not None) == ("it is away", True)
    assert not now_due(clinic)
