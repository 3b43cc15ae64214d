"""Text for people and for programs."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.cli import output


def _printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_columns_are_aligned_and_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("name", "count"), [("a", 5), ("long name", 1234)])
    assert _printed(capsys) == ["name       count", "a              5", "long name   1234"]


def test_wide_characters_take_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("name", "next"), [("山田", "x"), ("ab", "y")])
    assert _printed(capsys) == ["name  next", "山田  x", "ab    y"]


def test_no_rows_are_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("name",), [], empty="no studies")
    assert _printed(capsys) == ["no studies"]


def test_values_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("a", "b", "c"), [(None, True, ["x", "y"])])
    assert _printed(capsys)[1].split() == ["yes", "x,", "y"]


def test_empty_fields_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.fields([("a", 0), ("empty", ""), ("none", None), ("list", [])])
    assert _printed(capsys) == ["a  0"]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.show({"name": "Ångström"}, True, lambda _: None)
    assert capsys.readouterr().out == '{\n  "name": "Ångström"\n}\n'


def test_a_terminal_without_unicode_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.write("Ångström")
    sys.stdout.flush()
    assert raw.getvalue() == b"\\xc5ngstr\\xf6m\n"


def test_on_a_terminal_a_table_is_drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.table(("name",), [("[bold]x[/bold]",)])
    text = capsys.readouterr().out
    assert "[bold]x[/bold]" in text  # what a study says is no markup
    assert "─" in text


def test_times_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    assert output.when(None) == ""
    assert len(output.when("2026-03-01T08:15:30.120Z")) == 19


@given(rows=st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_a_row_stays_one_line_and_obeys_no_terminal_code(rows: list[tuple[str, str]]) -> None:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        output.table(("a", "b"), rows)
    text = stream.getvalue()
    assert text.count("\n") == len(rows) + 1
    assert all(character.isprintable() for line in text.split("\n") for character in line)


@given(text=st.text(), longest=st.integers(1, 50))
def test_short(text: str, longest: int) -> None:
    shown = output.short(text, longest)
    assert len(shown) <= longest
    assert shown == text or text.startswith(shown[:-1])
