"""Plain data shown as JSON or as text. Tables are drawn on a terminal, and plain columns elsewhere."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="Number, Study Instance UID, accession number or patient ID.")
]

_GAP = "  "


def show(data: Any, as_json: bool, render: Callable[[Any], None]) -> None:
    """Print ``data`` as JSON, or let ``render`` print it as text."""
    if as_json:
        write(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        render(data)


def write(text: str = "") -> None:
    """A line on the standard output; what its encoding cannot show is shown as an escape."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def heading(text: str) -> None:
    """The title of a part."""
    write()
    write(typer.style(text, bold=True) if sys.stdout.isatty() else text)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str = "none") -> None:
    """Rows under column names; numbers to the right."""
    if not rows:
        write(empty)
        return
    cells = [[_cell(value) for value in row] for row in rows]
    right = [all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(len(columns))]
    if sys.stdout.isatty():
        _draw(columns, cells, right)
    else:
        _columns(columns, cells, right)


def fields(pairs: Sequence[tuple[str, Any]]) -> None:
    """Names and values below each other; empty values are left out."""
    shown = [(name, _cell(value)) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        write(f"{name:<{width}}  {value}")


def when(text: str | None) -> str:
    """An ISO time in UTC as the terminal's local time."""
    if not text:
        return ""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short(text: str, longest: int = 100) -> str:
    """The beginning of a long text."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return "".join(character if character.isprintable() else " " for character in str(value))


def _draw(columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, to_right in zip(columns, right, strict=True):
        drawn.add_column(name, justify="right" if to_right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(width=max(80, shutil.get_terminal_size().columns)).print(drawn)


def _columns(columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    rows = [list(columns), *cells]
    widths = [max(_width(row[i]) for row in rows) for i in range(len(columns))]
    for row in rows:
        padded = []
        for text, width, to_right in zip(row, widths, right, strict=True):
            space = " " * (width - _width(text))
            padded.append(space + text if to_right else text + space)
        write(_GAP.join(padded).rstrip())


def _width(text: str) -> int:
    """Columns of a terminal that ``text`` takes; ideographs take two, combining marks none."""
    wide = sum(1 for character in text if unicodedata.east_asian_width(character) in "WF")
    return len(text) + wide - sum(1 for character in text if unicodedata.combining(character))
