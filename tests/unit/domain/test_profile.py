from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.profile import PRESETS, Companion, Profile, base_of, companions_of, first_of, order_of

B, L, F = Profile.BINARY, Profile.LABELMAP, Profile.FRACTIONAL
profiles = st.lists(st.sampled_from(Profile), unique=True)


def test_a_destination_of_which_nothing_is_said_gets_what_the_model_asks_for_then_binary() -> None:
    assert order_of((), None) == (B,)
    assert order_of((), F) == (F, B)
    assert order_of((), B) == (B,)


def test_a_destination_gets_only_what_its_entry_lists() -> None:
    assert order_of((L, B), None) == (L, B)
    assert order_of((L, B), F) == (L, B)
    assert order_of((L, B, F), F) == (F, L, B)


@given(profiles, st.sampled_from([None, *Profile]), profiles, profiles)
def test_what_is_next_was_not_tried_is_possible_and_goes_before_the_others(
    taken: list[Profile], asked: Profile | None, possible: list[Profile], tried: list[Profile]
) -> None:
    order = order_of(taken, asked)
    assert set(order) == set(taken or ({asked or B, B}))
    assert len(set(order)) == len(order)
    left = [profile for profile in order if profile in possible and profile not in tried]
    assert first_of(order, possible, tried) == (left[0] if left else None)


@given(st.sampled_from([None, *Profile]), st.lists(st.sampled_from(Profile), max_size=3))
def test_a_destination_that_refuses_one_after_the_other_comes_to_an_end(
    asked: Profile | None, taken: list[Profile]
) -> None:
    order, tried = order_of(taken, asked), set[Profile]()
    while (profile := first_of(order, set(Profile), tried)) is not None:
        tried.add(profile)
    assert tried == set(order)


def test_a_corrected_set_is_of_the_profile_it_was_made_from() -> None:
    assert base_of("labelmap") is base_of("labelmap-c2") is L
    assert base_of("notice") is base_of("rejection-binary") is None


def test_presets_end_with_what_everybody_takes() -> None:
    encodings = [[each for each in given if isinstance(each, Profile)] for given in PRESETS.values()]
    assert {order[-1] for order in encodings} == {B}


def test_who_says_nothing_gets_what_every_archive_shows_and_who_says_something_gets_that() -> None:
    assert companions_of(()) == (Companion.SUMMARY, Companion.KEY_IMAGES)
    assert companions_of((B,)) == ()
    assert companions_of(PRESETS["weasis"]) == (Companion.KEY_IMAGES, Companion.PRESENTATION)
