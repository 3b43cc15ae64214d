"""What a peer says when we ask whether it answers for objects (Storage Commitment, PS3.4 J), and what follows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Answer:
    """An N-EVENT-REPORT of the Push Model."""

    transaction_uid: str
    committed: frozenset[str]  # SOP Instance UIDs
    failures: Mapping[str, int]  # SOP Instance UID -> Failure Reason (0008,1197)


class Action(StrEnum):
    """What is to be done next."""

    NOTHING = "nothing"  # all is committed
    SEND = "send"  # the peer has not got some objects
    REFUSE = "refuse"  # a person must act
    ASK = "ask"  # the peer could not tell now
    LOOK = "look"  # it does not commit to such objects: whether it has them must do


@dataclass(frozen=True, slots=True)
class Judgement:
    """An action, the objects it is about, and why, in words."""

    action: Action
    sop_uids: tuple[str, ...] = ()
    words: str = ""


# PS3.3 C.14.1.1; what stands first is done first. Any other reason is one to ask again.
_ACTIONS = {
    0x0112: (Action.SEND, "no such object instance"),
    0x0119: (Action.REFUSE, "class-instance conflict"),
    0x0110: (Action.ASK, "processing failure"),
    0x0213: (Action.ASK, "resource limitation"),
    0x0131: (Action.ASK, "duplicate transaction UID"),
    0x0122: (Action.LOOK, "referenced SOP class not supported"),
}
_ORDER = (Action.SEND, Action.REFUSE, Action.ASK, Action.LOOK)


def judge(wanted: Sequence[str], answer: Answer) -> Judgement:
    """What follows for the objects we asked about; what the answer tells of others does not count.

    An object that is named as failed is not committed, whatever else is said of it; one that is not named at all is
    to be asked about again.
    """
    by_action: dict[Action, list[str]] = {}
    told: dict[str, int] = {}
    for uid in wanted:
        reason = answer.failures.get(uid)
        if reason is None and uid in answer.committed:
            continue
        action, words = (
            (Action.ASK, "it is not mentioned")
            if reason is None
            else _ACTIONS.get(reason, (Action.ASK, "unknown reason"))
        )
        by_action.setdefault(action, []).append(uid)
        words = words if reason is None else f"0x{reason:04X} {words}"
        told[words] = told.get(words, 0) + 1
    for action in _ORDER:
        if action in by_action:
            words = ", ".join(f"{count} of {len(wanted)}: {why}" for why, count in told.items())
            return Judgement(action, tuple(by_action[action]), words)
    return Judgement(Action.NOTHING)
