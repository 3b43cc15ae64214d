"""Whose genome a sample is: a manifest says it, and nothing else does. Never a column's place or a sample's likeness.

CSV with the columns ``sample, issuer, patient_id``, or TOML::

    [[samples]]
    sample = "HG002"
    issuer = "HOSPITAL"
    patient_id = "4711"

An empty issuer is the site's own. One sample is one patient; a patient may have several samples.
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.errors import GenomeError
from dicom_node.toml_lines import line_of

COLUMNS = ("sample", "issuer", "patient_id")
_LONGEST = 64  # characters of LO, which patient IDs and issuers are in DICOM


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample and its patient."""

    sample: str
    issuer: str  # of the patient ID; empty: the site's own
    patient_id: str
    line: int  # of the manifest, 1-based


def read(file: Path) -> tuple[Entry, ...]:
    """The entries of a manifest, in its order.

    Raises:
        GenomeError: it cannot be read, or a line of it is wrong; names the line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise GenomeError(f"{file.name}: the manifest cannot be read: {error}", reason="manifest-unreadable") from error
    rows = _toml(file.name, text) if file.suffix.lower() == ".toml" else _csv(file.name, text)
    entries: dict[str, Entry] = {}
    for entry in rows:
        _check(file.name, entry)
        before = entries.get(entry.sample)
        if before:
            raise _wrong(file.name, entry.line, f"sample {entry.sample!r} stands in line {before.line} already")
        entries[entry.sample] = entry
    if not entries:
        raise GenomeError(f"{file.name}: the manifest names no sample", reason="manifest-empty")
    return tuple(entries.values())


def chosen(entries: Sequence[Entry], samples: Sequence[str], file: str) -> tuple[Entry, ...]:
    """The entries whose samples a genome file has.

    Raises:
        GenomeError: none of them; then nothing is read.
    """
    found = tuple(entry for entry in entries if entry.sample in set(samples))
    if not found:
        has = _listed(samples) or "no sample"
        named = _listed([entry.sample for entry in entries])
        raise GenomeError(
            f"{file}: it has {has}; the manifest names {named}: nothing read",
            reason="sample-not-in-manifest",
            remedy="add a line for each sample to the manifest, with the patient it was taken from",
        )
    return found


def _csv(name: str, text: str) -> Iterator[Entry]:
    reader = csv.reader(io.StringIO(text), strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if header is None:
                header = _header(name, reader.line_num, [cell.lower() for cell in cells])
                continue
            if len(cells) != len(header):
                raise _wrong(name, reader.line_num, f"has {len(cells)} cells where the header has {len(header)}")
            by_column = dict(zip(header, cells, strict=True))
            yield Entry(by_column["sample"], by_column["issuer"], by_column["patient_id"], reader.line_num)
    except csv.Error as error:
        raise _wrong(name, reader.line_num, f"is no CSV: {error}") from error


def _header(name: str, line: int, cells: list[str]) -> list[str]:
    missing = [column for column in COLUMNS if column not in cells]
    if missing or len(set(cells)) != len(cells):
        raise _wrong(name, line, f"should be the header {', '.join(COLUMNS)}, not {', '.join(cells)}")
    return cells


def _toml(name: str, text: str) -> Iterator[Entry]:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise GenomeError(f"{name}: the manifest is no TOML: {error}", reason="manifest-malformed") from error
    samples: Any = tree.get("samples")
    if set(tree) - {"samples"} or not isinstance(samples, list):
        raise GenomeError(
            f"{name}: a manifest consists of [[samples]] with {', '.join(COLUMNS)}", reason="manifest-malformed"
        )
    for index, table in enumerate(samples):
        line = line_of(text, ("samples", index)) or 1
        if not isinstance(table, dict) or set(table) - set(COLUMNS) or not {"sample", "patient_id"} <= set(table):
            raise _wrong(name, line, f"should have {', '.join(COLUMNS)}")
        values = [table.get(column, "") for column in COLUMNS]
        if not all(isinstance(value, str) for value in values):
            raise _wrong(name, line, "has a value that is no text; put it in quotes, or leading zeros are lost")
        sample, issuer, patient_id = (value.strip() for value in values)
        yield Entry(sample, issuer, patient_id, line)


def _check(name: str, entry: Entry) -> None:
    for column in COLUMNS:
        value: str = getattr(entry, column)
        if not value and column != "issuer":
            raise _wrong(name, entry.line, f"{column} is empty")
        if not value.isprintable() or "\\" in value:
            raise _wrong(name, entry.line, f"{column} {value!r} has a character that may not stand there")
        if column != "sample" and len(value) > _LONGEST:
            raise _wrong(name, entry.line, f"{column} is longer than {_LONGEST} characters")


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _wrong(name: str, line: int, what: str) -> GenomeError:
    return GenomeError(
        f"{name}: line {line}: {what}", reason="manifest-malformed", remedy="correct the manifest; nothing was read"
    )
