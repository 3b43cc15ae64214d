import pytest
from pydicom.sr.codedict import codes as dictionary

from dicom_node.domain.finding import Code, Presence
from workers.results import codes

NAMED = {name: value for name, value in vars(codes).items() if isinstance(value, Code)}


@pytest.mark.parametrize("name", [name for name, code in NAMED.items() if code.scheme == "DCM"])
def test_concepts_of_dicom_mean_what_the_standard_says(name: str) -> None:
    code = NAMED[name]
    known = {entry.value: entry.meaning for entry in map(lambda k: getattr(dictionary.DCM, k), dictionary.DCM.dir())}
    assert known[code.value] == code.meaning


def test_procedures_are_of_their_context_group() -> None:
    group = {getattr(dictionary.cid100, key).value for key in dictionary.cid100.dir()}
    assert {code.value for code in (*codes.PROCEDURES.values(), codes.ANY_PROCEDURE)} <= group


def test_every_answer_has_a_code_of_its_own() -> None:
    assert set(codes.PRESENCE) == set(Presence)
    assert len({code.value for code in codes.PRESENCE.values()}) == len(Presence)
