"""Truth in a table, ``truth.csv`` beside ``images``: its lines, and the images of the cases that it names."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from dicom_node.errors import InputError
from workers.evaluation.cases import Case, entries

TRUTH = "truth.csv"
Row = dict[str, str | None]


def read(folder: Path, remedy: str) -> list[tuple[str, Row]]:
    """Its lines, each with where it stands, for messages.

    Raises:
        InputError: it cannot be read.
    """
    file = folder / TRUTH
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read: {error}", reason="no-truth", remedy=remedy) from error
    return [(f"{file}, line {number}", row) for number, row in enumerate(rows, start=2)]


def chosen(folder: Path, told: Iterable[str], names: tuple[str, ...] | None) -> tuple[Case, ...]:
    """The cases that the table tells of, with their images; of ``names`` only, where given.

    Raises:
        InputError: one has no image, or no line.
    """
    file, known, images = folder / TRUTH, tuple(dict.fromkeys(told)), entries(folder / "images")
    wanted = names if names is not None else known
    missing = [name for name in wanted if name not in known or name not in images]
    if missing or not wanted:
        raise InputError(
            f"{file}: {len(missing)} case(s) have no image, or no line: {', '.join(missing[:5])}"
            if wanted
            else f"{file}: names no case",
            reason="no-image" if wanted else "no-cases",
            remedy=f"put images into {folder / 'images'} under the names of the cases",
        )
    return tuple(Case(name, images[name], file) for name in wanted)
