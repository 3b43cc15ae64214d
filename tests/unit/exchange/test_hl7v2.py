"""HL7 messages: what they say, in whatever character set they say it, and the answer to them."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hl7_messages import header, message, pid

from dicom_node.errors import InputError
from dicom_node.exchange.hl7v2 import acknowledge, numbers, parse, part, time_of

BERLIN = timezone(timedelta(hours=1))


def test_what_a_message_says_of_itself() -> None:
    found = parse(message(header("ADT^A40^ADT_A40", "77"), pid()))
    assert (found.kind, found.trigger, found.control_id, found.version) == ("ADT", "A40", "77", "2.5")
    assert (found.application, found.facility, found.sender) == ("ADT1", "GENERAL", "ADT1|GENERAL")
    assert found.first("PID").field(5) == "Doe^Jane"
    assert found.first("ZZZ").field(1) == ""


@pytest.mark.parametrize(
    ("charset", "codec"), [("", "utf-8"), ("UNICODE UTF-8", "utf-8"), ("8859/1", "latin-1"), ("8859/15", "iso8859_15")]
)
def test_each_message_names_its_character_set(charset: str, codec: str) -> None:
    text = "\r".join([header("ADT^A01", charset=charset), pid(name="Müller^Zoë")])
    assert parse(text.encode(codec)).first("PID").field(5) == "Müller^Zoë"
    assert parse(b"\xef\xbb\xbf" + text.encode(codec)).kind == "ADT"


def test_another_character_set_than_it_says_is_refused() -> None:
    text = "\r".join([header("ADT^A01"), pid(name="Müller")])
    with pytest.raises(InputError, match="not in UTF-8"):
        parse(text.encode("latin-1"))
    with pytest.raises(InputError, match="not known"):
        parse(message(header("ADT^A01", charset="KLINGON"), pid()))


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"PID|1", b"MSH", b"MSH|^~\\&|", b"MSH|^~\\&|a|b|c|d|20260301||", b"MSH|&^~|a"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        parse(data)


def test_numbers_and_who_assigned_them() -> None:
    (first, second) = numbers("12^^^BCBS^MR~34^^^&1.2.3&ISO^PI~^^^X")
    assert (first.value, first.authorities) == ("12", ("BCBS",))
    assert (second.value, second.authorities) == ("34", ("1.2.3", "urn:oid:1.2.3"))
    assert numbers('""^^^A') == []


def test_escapes_are_undone() -> None:
    assert part("a\\T\\b^c\\S\\d", 2) == "c^d"
    assert part("a\\T\\b^c", 1) == "a&b"
    assert part("a\\.br\\b", 1) == "ab"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260301", datetime(2026, 3, 1, tzinfo=BERLIN)),
        ("202603011215", datetime(2026, 3, 1, 12, 15, tzinfo=BERLIN)),
        ("20260301121530.5+0000", datetime(2026, 3, 1, 12, 15, 30, 500000, tzinfo=UTC)),
        ("20260301121530-0230", datetime(2026, 3, 1, 14, 45, 30, tzinfo=UTC)),
        ("202603", None),
        ("20261301", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_are_aware(text: str, expected: datetime | None) -> None:
    assert time_of(text, BERLIN) == expected


def test_an_answer_names_what_it_answers() -> None:
    told = parse(acknowledge(parse(message(header("ADT^A40", "77"), pid())), "AE", "no | number ^"))
    assert told.kind == "ACK"
    assert (told.first("MSA").field(1), told.first("MSA").field(2)) == ("AE", "77")
    assert told.first("ERR").field(8) == "no   number"
    assert parse(acknowledge(None, "AR", "not framed")).first("MSA").field(1) == "AR"


def test_all_messages_of_the_data_are_read(test_data: Path) -> None:
    files = sorted((test_data / "ehr" / "hl7v2").glob("*.hl7"))
    assert len(files) >= 59
    assert {parse(file.read_bytes()).kind for file in files} >= {"ADT", "ORU", "ORM"}


def test_mutated_messages_are_read_or_refused_and_nothing_else(test_data: Path) -> None:
    whole = [file.read_bytes() for file in sorted((test_data / "ehr" / "hl7v2").glob("*.hl7"))]
    dice = random.Random(11)
    refused = 0
    for _ in range(2000):
        data = bytearray(dice.choice(whole)[: dice.randint(20, 4000)])
        for _ in range(dice.randint(1, 20)):
            data[dice.randrange(len(data))] = dice.choice(b"|^~\\&\r\n\x0b\x1c\x00MSHPID0\xff\xc3")
        try:
            acknowledge(parse(bytes(data)), "AA")
        except InputError:
            refused += 1
    assert refused > 100
