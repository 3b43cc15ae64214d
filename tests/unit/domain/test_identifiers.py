"""Unique identifiers, ours and those of others."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.identifiers import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    RECEIPT_CREATOR_UID,
    is_valid_uid,
    result_uid,
    uid_from_uuid,
)


@given(st.uuids())
def test_the_uid_of_a_uuid_is_valid_and_gives_the_uuid_back(value: uuid.UUID) -> None:
    uid = uid_from_uuid(value)

    assert is_valid_uid(uid)
    assert uuid.UUID(int=int(uid.removeprefix("2.25."))) == value


@pytest.mark.parametrize(
    ("uid", "valid"),
    [
        ("1.2.840.10008.1.1", True),
        ("1.2." + "1" * 60, True),
        ("1.2." + "1" * 61, False),
        ("1.02", False),
        ("1..2", False),
        ("1.2.", False),
        ("1", False),
        ("", False),
        ("1.2.a", False),
        ("1.2 ", False),
        ("1.2\n", False),
    ],
)
def test_a_uid_is_valid_as_the_standard_has_it(uid: str, valid: bool) -> None:
    assert is_valid_uid(uid) is valid


def test_our_own_identifiers_are_valid() -> None:
    assert is_valid_uid(IMPLEMENTATION_CLASS_UID)
    assert is_valid_uid(RECEIPT_CREATOR_UID)
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16


def test_a_result_has_one_uid_however_often_it_is_made_and_shares_it_with_no_other() -> None:
    here, there = uuid.UUID(int=1), uuid.UUID(int=2)
    ours = result_uid(here, "key", "seg", 1, "default")

    assert ours == result_uid(here, "key", "seg", 1, "default")
    others = {
        result_uid(there, "key", "seg", 1, "default"),
        result_uid(here, "other", "seg", 1, "default"),
        result_uid(here, "key", "sr", 1, "default"),
        result_uid(here, "key", "seg", 2, "default"),
        result_uid(here, "key", "seg", 1, "labelmap"),
    }
    assert len(others | {ours}) == 6
