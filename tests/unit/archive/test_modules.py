import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicom_node.archive import modules

LISTS = [name for name in dir(modules) if name.isupper()]


@pytest.mark.parametrize("name", LISTS)
def test_every_keyword_is_of_the_dictionary(name: str) -> None:
    assert [keyword for keyword in getattr(modules, name) if tag_for_keyword(keyword) is None] == []


def test_each_attribute_is_named_once() -> None:
    assert len(set(modules.EVERY_RESULT)) == len(modules.EVERY_RESULT)


def test_what_identifies_is_text_that_results_take_over() -> None:
    assert set(modules.IDENTIFYING) <= set(modules.EVERY_RESULT)
    assert {dictionary_VR(keyword) for keyword in modules.IDENTIFYING} <= {"PN", "LO", "SH"}
