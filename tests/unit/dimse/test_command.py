from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dsutils import decode

from dicom_node.dimse import command
from dicom_node.dimse.command import Command, CommandError, Status

CT = "1.2.840.10008.5.1.4.1.1.2"


@given(st.dictionaries(st.integers(0x0002, 0xFFFF), st.binary(max_size=64).filter(lambda v: len(v) % 2 == 0)))
def test_a_command_set_reads_back(elements: dict[int, bytes]) -> None:
    elements[0x0100] = b"\x01\x00"
    read = Command.parse(command.encode(dict(sorted(elements.items())))).elements
    assert {key: value for key, value in read.items() if key} == elements


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(encoded: bytes) -> None:
    try:
        Command.parse(encoded)
    except CommandError as error:
        assert str(error)


def test_pynetdicom_reads_our_requests() -> None:
    encoded = command.request(command.C_STORE_RQ, CT, 7, sop_instance="1.2.3", has_data_set=True)
    read = decode(BytesIO(encoded), True, True)
    assert (read.CommandField, read.MessageID, read.Priority, read.CommandDataSetType) == (1, 7, 0, 1)
    assert (read.AffectedSOPClassUID, read.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert read.CommandGroupLength == len(encoded) - 12
    echo = decode(BytesIO(command.request(command.C_ECHO_RQ, "1.2.840.10008.1.1", 1, has_data_set=False)), True, True)
    assert echo.CommandDataSetType == 0x0101
    assert "Priority" not in echo


@pytest.mark.parametrize("uid", [b"1.2.3\0", b"1.2.3.", b"not a uid", b"1.2.3 "])
def test_a_response_repeats_the_identifiers_as_they_were_sent(uid: bytes) -> None:
    request = Command({0x0002: CT.encode() + b"\0", 0x0100: b"\1\0", 0x0110: b"\x39\x05", 0x0800: b"\1\0", 0x1000: uid})
    encoded = command.store_response(request, 5, Status.OUT_OF_RESOURCES)
    assert encoded[:2] == b"\4\0"
    assert int.from_bytes(encoded[2:6], "big") == len(encoded) - 6
    assert encoded[10:12] == b"\x05\x03"
    answer = Command.parse(encoded[12:])
    assert answer.field == command.C_STORE_RSP
    assert answer.number(0x0120) == 0x0539
    assert answer.number(0x0900) == 0xA700
    assert answer.elements[0x1000] == uid + b"\0" * (len(uid) % 2)
    assert not answer.has_data_set


def test_identifiers_are_read_without_padding() -> None:
    read = Command({0x0002: b"1.2.3\0", 0x1000: b"1.2.4 "})
    assert (read.sop_class, read.sop_instance) == (b"1.2.3", b"1.2.4")
    assert Command({}).sop_class == b""


@pytest.mark.parametrize("value", [b"", b"\1", b"\1\0\0\0"])
def test_a_number_of_another_length_is_none(value: bytes) -> None:
    assert Command({0x0110: value}).number(0x0110) is None
