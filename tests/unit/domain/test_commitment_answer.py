"""What follows from the answer to a question for Storage Commitment."""

from __future__ import annotations

import pytest

from dicom_node.domain.commitment_answer import Action, Answer, judge


def answer(*committed: str, **failures: int) -> Answer:
    return Answer("2.25.1", frozenset(committed), failures)


@pytest.mark.parametrize(
    ("told", "action", "uids"),
    [
        (answer("a", "b"), Action.NOTHING, ()),
        (answer("a", "b", "foreign", stranger=0x0112), Action.NOTHING, ()),
        (answer("a", b=0x0112), Action.SEND, ("b",)),
        (answer(a=0x0119, b=0x0112), Action.SEND, ("b",)),
        (answer("b", a=0x0119), Action.REFUSE, ("a",)),
        (answer("a", b=0x0110), Action.ASK, ("b",)),
        (answer("a", b=0x0213), Action.ASK, ("b",)),
        (answer("a", b=0x0131), Action.ASK, ("b",)),
        (answer("a", b=0xC123), Action.ASK, ("b",)),
        (answer("a"), Action.ASK, ("b",)),
        (answer(), Action.ASK, ("a", "b")),
        (answer("a", b=0x0122), Action.LOOK, ("b",)),
        (answer("a", "b", b=0x0112), Action.SEND, ("b",)),
    ],
)
def test_judgements(told: Answer, action: Action, uids: tuple[str, ...]) -> None:
    judged = judge(["a", "b"], told)
    assert (judged.action, judged.sop_uids) == (action, uids)
    assert bool(judged.words) == (action is not Action.NOTHING)


def test_every_reason_is_told() -> None:
    words = judge(["a", "b", "c"], answer(a=0x0112, b=0x0112)).words
    assert words == "2 of 3: 0x0112 no such object instance, 1 of 3: it is not mentioned"
