"""The truth of classifiers: a table ``truth.csv`` beside ``images``.

case,class              or      case,motion,noise
a,motion                        a,1,0
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicom_node.domain.output import ClassOutput
from dicom_node.errors import InputError
from workers.evaluation.cases import Case, entries

TRUTH = "truth.csv"


def find(
    folder: Path, output: ClassOutput, names: tuple[str, ...] | None = None
) -> tuple[tuple[Case, ...], npt.NDArray[np.bool_]]:
    """The cases in ``folder``, and what holds of each, (case, class) in the order of the output.

    Raises:
        InputError: the table is missing, has other columns or values, or names a case that has no image.
    """
    file = folder / TRUTH
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        remedy = "a line for each case: case,class, or case and a column of 0 or 1 for each class"
        raise InputError(f"{file}: cannot be read: {error}", reason="no-truth", remedy=remedy) from error
    known = [spec.name for spec in output.classes]
    told = {str(row.get("case")): _classes(file, number, row, known) for number, row in enumerate(rows, start=2)}
    if len(told) != len(rows):
        raise InputError(f"{file}: a case stands in it twice", reason="truth-labels")
    images = entries(folder / "images")
    wanted = names if names is not None else tuple(told)
    missing = [name for name in wanted if name not in told or name not in images]
    if missing or not wanted:
        raise InputError(
            f"{file}: {len(missing)} case(s) have no image, or no line: {', '.join(missing[:5])}"
            if wanted
            else f"{file}: names no case",
            reason="no-image" if wanted else "no-cases",
            remedy=f"put images into {folder / 'images'} under the names of the cases",
        )
    cases = tuple(Case(name, images[name], file) for name in wanted)
    return cases, np.asarray([told[name] for name in wanted], dtype=np.bool_)


def _classes(file: Path, number: int, row: dict[str, str | None], known: list[str]) -> list[bool]:
    """What holds of the case of one line."""
    where = f"{file}, line {number}"
    if "class" in row:
        if row["class"] not in known:
            raise InputError(f"{where}: {row['class']!r} is none of {', '.join(known)}", reason="truth-labels")
        return [row["class"] == name for name in known]
    if any(row.get(name) not in ("0", "1") for name in known):
        raise InputError(f"{where}: needs a 0 or 1 for each of {', '.join(known)}", reason="truth-labels")
    return [row[name] == "1" for name in known]
