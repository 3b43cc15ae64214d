"""The truth of classifiers: a table ``truth.csv`` beside ``images``.

case,class              or      case,motion,noise
a,motion                        a,1,0
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicom_node.domain.output import ClassOutput
from dicom_node.errors import InputError
from workers.evaluation import tables
from workers.evaluation.cases import Case


def find(
    folder: Path, output: ClassOutput, names: tuple[str, ...] | None = None
) -> tuple[tuple[Case, ...], npt.NDArray[np.bool_]]:
    """The cases in ``folder``, and what holds of each, (case, class) in the order of the output.

    Raises:
        InputError: the table is missing, has other columns or values, or names a case that has no image.
    """
    known = [spec.name for spec in output.classes]
    rows = tables.read(folder, "a line for each case: case,class, or case and a column of 0 or 1 for each class")
    told = {str(row.get("case")): _classes(where, row, known) for where, row in rows}
    if len(told) != len(rows):
        raise InputError(f"{folder / tables.TRUTH}: a case stands in it twice", reason="truth-labels")
    cases = tables.chosen(folder, told, names)
    return cases, np.asarray([told[case.name] for case in cases], dtype=np.bool_)


def _classes(where: str, row: tables.Row, known: list[str]) -> list[bool]:
    """What holds of the case of one line."""
    if "class" in row:
        if row["class"] not in known:
            raise InputError(f"{where}: {row['class']!r} is none of {', '.join(known)}", reason="truth-labels")
        return [row["class"] == name for name in known]
    if any(row.get(name) not in ("0", "1") for name in known):
        raise InputError(f"{where}: needs a 0 or 1 for each of {', '.join(known)}", reason="truth-labels")
    return [row[name] == "1" for name in known]
