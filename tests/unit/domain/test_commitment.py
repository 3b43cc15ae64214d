from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.commitment import FailureReason, Reference, Relayed, Stored, candidates, relayed
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.study import InstanceState

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ASKED = Reference(CT, "1.2.3")
CURRENT, SUPERSEDED, REJECTED, CONFLICT = (
    InstanceState.CURRENT,
    InstanceState.SUPERSEDED,
    InstanceState.REJECTED,
    InstanceState.CONFLICT,
)


def stored(state: InstanceState, sop_class: str = CT, sop_uid: str = "1.2.3", number: int = 1) -> Stored:
    return Stored(number, sop_class, sop_uid, state, "digest", f"objects/a0/00000001/{number:03d}.dcm")


def test_every_revision_must_be_sound() -> None:
    both = (stored(SUPERSEDED, number=1), stored(CURRENT, number=2))
    assert candidates(ASKED, (*both, stored(CURRENT, sop_uid="1.2.4"), stored(REJECTED, number=3))) == both


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ((), FailureReason.NO_SUCH_OBJECT),
        ((stored(CURRENT, sop_uid="1.2.4"),), FailureReason.NO_SUCH_OBJECT),
        ((stored(REJECTED, sop_class=""),), FailureReason.PROCESSING_FAILURE),
        ((stored(CURRENT), stored(CONFLICT)), FailureReason.PROCESSING_FAILURE),
        ((stored(CURRENT, sop_class=MR),), FailureReason.CLASS_INSTANCE_CONFLICT),
        ((stored(CURRENT), stored(SUPERSEDED, sop_class=MR)), FailureReason.CLASS_INSTANCE_CONFLICT),
    ],
)
def test_what_nobody_can_answer_for(found: tuple[Stored, ...], reason: FailureReason) -> None:
    assert candidates(ASKED, found) is reason


@given(st.lists(st.builds(stored, st.sampled_from(InstanceState), st.sampled_from((CT, MR)))))
def test_only_objects_of_that_name_and_class_are_ever_answered_for(found: list[Stored]) -> None:
    answer = candidates(ASKED, found)
    if not isinstance(answer, FailureReason):
        assert answer
        assert {(one.sop_uid, one.sop_class) for one in answer} == {(ASKED.sop_uid, ASKED.sop_class)}
        assert all(one.state in (CURRENT, SUPERSEDED, InstanceState.HIDDEN) for one in answer)
        assert not any(one.state is CONFLICT for one in found)


def at(state: InstanceState, parcel: ParcelState | None, *, planned: bool = True, looked_for: bool = False) -> Relayed:
    return Relayed(stored(state), planned, parcel, looked_for)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((), FailureReason.NO_SUCH_OBJECT),
        ((at(CURRENT, None, planned=False),), None),
        ((at(CURRENT, ParcelState.DUE),), None),
        ((at(CURRENT, ParcelState.REFUSED),), None),
        ((at(CURRENT, ParcelState.SENT, looked_for=True),), None),
        ((at(CURRENT, ParcelState.PRESENT, looked_for=True),), None),
        ((at(CURRENT, ParcelState.SENT),), FailureReason.PROCESSING_FAILURE),
        ((at(CURRENT, ParcelState.PRESENT),), FailureReason.PROCESSING_FAILURE),  # it shows it, and does not commit
        ((at(CURRENT, ParcelState.COMMITTED),), (stored(CURRENT),)),
        ((at(SUPERSEDED, ParcelState.COMMITTED), at(CURRENT, ParcelState.DUE)), None),
        ((at(SUPERSEDED, ParcelState.COMMITTED), at(CURRENT, None)), (stored(SUPERSEDED),)),  # corrected by the archive
        ((at(CURRENT, None),), FailureReason.PROCESSING_FAILURE),  # it came from the archive alone
        ((at(CURRENT, ParcelState.COMMITTED), at(CONFLICT, None)), FailureReason.PROCESSING_FAILURE),
    ],
)
def test_an_archive_is_answered_for_by_what_it_has_committed_to(found: tuple[Relayed, ...], expected: object) -> None:
    assert relayed(ASKED, found) == expected
