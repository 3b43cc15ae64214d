"""What each title of a rejection note means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.domain.rejection import Title

NOTED = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOTED + timedelta(seconds=1)


@pytest.mark.parametrize("title", Title)
def test_what_was_here_before_is_hidden_by_every_title(title: Title) -> None:
    assert title.hides(NOTED, NOTED)
    assert (title.code.value, title.code.scheme) == (str(title), "DCM")


def test_only_images_of_expired_retention_may_come_again() -> None:
    assert [title for title in Title if not title.hides(LATER, NOTED)] == [Title.RETENTION_EXPIRED]


def test_two_titles_mean_that_results_may_harm() -> None:
    assert [title for title in Title if title.means_wrong] == [Title.PATIENT_SAFETY, Title.WRONG_WORKLIST_ENTRY]
