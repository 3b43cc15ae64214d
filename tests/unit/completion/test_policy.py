from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.completion.policy import CountFacts, SeriesFacts, StudyFacts, judge_series, judge_study
from dicom_node.domain.grid import ImagePlane
from dicom_node.settings import CompletionSettings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SETTINGS = CompletionSettings(quiet_seconds=30, study_quiet_seconds=300, gap_wait_seconds=3600)


def plane(z: float, **changes: Any) -> ImagePlane:
    values: dict[str, Any] = {
        "rows": 4,
        "columns": 4,
        "pixel_spacing": (1.0, 1.0),
        "orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        "position": (0.0, 0.0, z),
    }
    return ImagePlane(**(values | changes))


def facts(silent: float, *positions: float, **changes: Any) -> SeriesFacts:
    values: dict[str, Any] = {
        "modality": "CT",
        "last_received": NOW - timedelta(seconds=silent),
        "association_ended": None,
        "planes": [plane(z) for z in positions],
    }
    return SeriesFacts(**(values | changes))


def test_a_series_that_is_still_arriving_is_not_ready() -> None:
    verdict = judge_series(facts(29.9, 0, 1, 2), NOW, SETTINGS)
    assert not verdict.ready
    assert verdict.check_again_at == NOW + timedelta(seconds=0.1)
    assert "30 s" in verdict.reason


def test_a_quiet_stack_without_gap_is_ready_and_says_so() -> None:
    verdict = judge_series(facts(30, 0, 1, 2), NOW, SETTINGS)
    assert verdict.ready
    assert verdict.reason == "no new image for 30 s, 3 slices without a gap"
    assert verdict.check_again_at is None


def test_the_end_of_the_association_is_told_but_does_not_suffice() -> None:
    ended = {"association_ended": NOW}
    assert not judge_series(facts(5, 0, 1, 2, **ended), NOW, SETTINGS).ready
    assert "the association has ended" in judge_series(facts(30, 0, 1, 2, **ended), NOW, SETTINGS).reason


def test_the_end_of_an_earlier_association_is_no_hint() -> None:
    earlier = {"association_ended": NOW - timedelta(seconds=60)}
    assert "association" not in judge_series(facts(30, 0, 1, 2, **earlier), NOW, SETTINGS).reason


def test_a_rule_may_ask_for_another_quiet_period() -> None:
    assert judge_series(facts(10, 0, 1, 2), NOW, SETTINGS, quiet_seconds=10).ready
    assert not judge_series(facts(30, 0, 1, 2), NOW, SETTINGS, quiet_seconds=60).ready


def test_the_frames_of_multi_frame_objects_are_its_slices() -> None:
    whole = judge_series(facts(30, 0, 1, 2, 3, instances=1), NOW, SETTINGS)
    assert (whole.ready, whole.reason) == (True, "no new image for 30 s, 4 frames of 1 object(s) without a gap")

    assert not judge_series(facts(30, 0, 1, 3, 4, instances=2), NOW, SETTINGS).ready


def test_a_peer_counts_objects_not_frames() -> None:
    assert judge_series(facts(30, 0, 1, 2, instances=1, count=count(1)), NOW, SETTINGS).ready
    assert not judge_series(facts(30, 0, 1, 2, instances=1, count=count(2)), NOW, SETTINGS).ready


def test_a_gap_within_one_whole_object_is_told_and_not_waited_for() -> None:
    verdict = judge_series(facts(30, 0, 1, 3, 4, instances=1), NOW, SETTINGS)
    assert verdict.ready
    assert "1 slice(s) missing" in verdict.reason


def test_a_missing_slice_is_waited_for_and_then_told() -> None:
    waits = judge_series(facts(30, 0, 1, 3, 4), NOW, SETTINGS)
    assert not waits.ready
    assert "1 slice(s) missing between 1.00 and 3.00 mm" in waits.reason
    assert waits.check_again_at == NOW + timedelta(seconds=3570)

    ready = judge_series(facts(3600, 0, 1, 3, 4), NOW, SETTINGS)
    assert ready.ready
    assert "1 slice(s) missing" in ready.reason


@pytest.mark.parametrize(
    ("planes", "told"),
    [
        ([plane(0), plane(1), plane(2, rows=8)], "different sizes"),
        ([plane(0), plane(1), plane(2, orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0))], "different orientations"),
        ([plane(0), plane(0), plane(1)], "same position"),
        ([plane(0), plane(1), None], "1 images have no position"),
    ],
)
def test_faults_that_no_further_image_mends_are_not_waited_for(planes: list[ImagePlane | None], told: str) -> None:
    verdict = judge_series(facts(30, planes=planes), NOW, SETTINGS)
    assert verdict.ready
    assert told in verdict.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": "US"},
        {"modality": "SR", "planes": []},
        {"localizer": True},
        {"planes": [plane(0)]},
        {"planes": [None] * 3},
    ],
)
def test_what_is_no_stack_is_ready_when_it_is_quiet(changes: dict[str, Any]) -> None:
    assert judge_series(facts(30, 0, 1, 5, **changes), NOW, SETTINGS).ready


@given(silent=st.floats(0, 1e5), count=st.integers(0, 5), gap=st.booleans(), quiet=st.floats(0, 1e4))
def test_what_is_ready_stays_ready_and_what_is_not_becomes_so_at_the_time_told(
    silent: float, count: int, gap: bool, quiet: float
) -> None:
    positions = [float(z + (gap and z > 1)) for z in range(count)]
    verdict = judge_series(facts(silent, *positions), NOW, SETTINGS, quiet)
    if verdict.ready:
        assert judge_series(facts(silent + 1, *positions), NOW, SETTINGS, quiet).ready
    else:
        assert verdict.check_again_at is not None
        assert verdict.check_again_at > NOW
        later = judge_series(facts(silent, *positions), verdict.check_again_at, SETTINGS, quiet)
        assert later.ready or later.check_again_at != verdict.check_again_at


def test_a_study_waits_for_its_series_and_for_its_own_quiet_period() -> None:
    quiet = NOW - timedelta(seconds=300)
    assert judge_study(StudyFacts(quiet, 0), NOW, SETTINGS).ready
    assert judge_study(StudyFacts(quiet, 1), NOW, SETTINGS).reason == "1 series of it are not whole"
    verdict = judge_study(StudyFacts(NOW - timedelta(seconds=299), 0), NOW, SETTINGS)
    assert not verdict.ready
    assert verdict.check_again_at == NOW + timedelta(seconds=1)
    assert judge_study(StudyFacts(NOW - timedelta(seconds=10), 0), NOW, SETTINGS, quiet_seconds=10).ready


def count(images: int | None, *, asked: bool = True, waited_s: float = 1.0, note: str = "") -> CountFacts:
    return CountFacts("pacs", images, note, NOW - timedelta(seconds=waited_s), asked)


def test_fewer_images_than_the_sender_has_are_waited_for_with_the_numbers() -> None:
    verdict = judge_series(facts(30, 0, 1, 2, count=count(5)), NOW, SETTINGS)
    assert not verdict.ready
    assert "pacs has 5 images, 3 are here" in verdict.reason
    assert verdict.check_again_at == NOW + timedelta(seconds=5)


@pytest.mark.parametrize("images", [3, 2])
def test_the_count_is_a_lower_bound(images: int) -> None:
    verdict = judge_series(facts(30, 0, 1, 2, count=count(images)), NOW, SETTINGS)
    assert verdict.ready
    assert f"pacs has {images} images, 3 are here" in verdict.reason


def test_an_answer_is_waited_for_and_not_for_long() -> None:
    asked = judge_series(facts(30, 0, 1, 2, count=count(None, asked=False)), NOW, SETTINGS)
    assert not asked.ready
    assert asked.check_again_at == NOW + timedelta(seconds=1)
    silent = judge_series(facts(90, 0, 1, 2, count=count(None, asked=False, waited_s=60)), NOW, SETTINGS)
    assert silent.ready
    assert "pacs did not say within 60 s how many it has" in silent.reason


def test_a_peer_that_does_not_tell_is_noted_and_holds_up_nothing() -> None:
    verdict = judge_series(facts(30, 0, 1, 2, count=count(None, note="pacs does not know the study")), NOW, SETTINGS)
    assert verdict.ready
    assert verdict.reason.endswith("pacs does not know the study")


@pytest.mark.parametrize("missing", [{"count": count(9)}, {"planes": [plane(z) for z in (0, 1, 3)]}])
def test_after_the_maximum_wait_it_is_taken_as_it_is_or_held(missing: dict[str, Any]) -> None:
    late = facts(7200, 0, 1, 2, **missing)
    taken = judge_series(late, NOW, SETTINGS)
    assert taken.ready
    assert "taken as it is, though" in taken.reason
    held = judge_series(late, NOW, SETTINGS.model_copy(update={"after_maximum": "hold"}))
    assert (held.ready, held.held) == (False, True)
    assert held.reason.startswith("held, since after 7200 s without a new image")


def test_the_end_of_the_association_shortens_the_wait_where_a_setting_allows_it() -> None:
    shorter = SETTINGS.model_copy(update={"association_end_seconds": 5.0})
    assert judge_series(facts(5, 0, 1, 2, association_ended=NOW), NOW, shorter).ready
    assert not judge_series(facts(4.9, 0, 1, 2, association_ended=NOW), NOW, shorter).ready
    assert not judge_series(facts(5, 0, 1, 2), NOW, shorter).ready
    assert not judge_series(facts(5, 0, 1, 3, association_ended=NOW), NOW, shorter).ready  # a gap still counts


def test_a_study_waits_for_what_the_sender_has_of_it() -> None:
    quiet = NOW - timedelta(seconds=300)
    fewer = judge_study(StudyFacts(quiet, 0, images=3, count=count(5)), NOW, SETTINGS)
    assert not fewer.ready
    assert "pacs has 5 images, 3 are here" in fewer.reason
    assert judge_study(StudyFacts(quiet, 0, images=5, count=count(5)), NOW, SETTINGS).ready
