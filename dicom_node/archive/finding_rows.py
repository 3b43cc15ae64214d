"""Findings as the rows the ledger keeps, and the other way round: what is read again is what was found.

Floats keep every bit in JSON (the shortest text that reads back as the same number, PEP 3141's ``repr``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from dicom_node.domain.comparison import Comparison
from dicom_node.domain.finding import (
    Classification,
    Detection,
    Evaluation,
    Findings,
    Measurement,
    ParameterMap,
    Segment,
)
from dicom_node.errors import LedgerError

Record = TypeVar("Record", Segment, Measurement, Evaluation, Classification, Detection, Comparison)
_KINDS: dict[str, type[Any]] = {
    "segment": Segment,
    "measurement": Measurement,
    "evaluation": Evaluation,
    "class": Classification,
    "detection": Detection,
    "comparison": Comparison,
}


def rows_of(findings: Findings) -> tuple[Mapping[str, Any], ...]:
    """What the ledger keeps of findings: kind, name, tracking UID, content; no array."""
    rows: list[Mapping[str, Any]] = []
    for segment in findings.segments:
        rows.append(
            {"kind": "segment", "name": segment.label, "tracking_uid": segment.tracking_uid, "content": asdict(segment)}
        )
    for measurement in findings.measurements:
        content = asdict(measurement)
        rows.append({"kind": "measurement", "name": measurement.name, "tracking_uid": None, "content": content})
    for evaluation in findings.evaluations:
        content = asdict(evaluation)
        rows.append({"kind": "evaluation", "name": evaluation.name, "tracking_uid": None, "content": content})
    for answer in findings.classes:
        rows.append({"kind": "class", "name": answer.name, "tracking_uid": None, "content": asdict(answer)})
    for marked in findings.detections:
        uid = marked.tracking_uid
        rows.append({"kind": "detection", "name": marked.output, "tracking_uid": uid, "content": asdict(marked)})
    if (told := findings.explanation) is not None:
        content = {name: getattr(told, name) for name in ("name", "of", "description")}
        content |= {"concept": asdict(told.concept), "unit": asdict(told.unit)}
        content |= {"lowest": float(told.values.min()), "highest": float(told.values.max())}
        rows.append({"kind": "map", "name": told.name, "tracking_uid": None, "content": content})
    if (against := findings.comparison) is not None:
        rows.append({"kind": "comparison", "name": "comparison", "tracking_uid": None, "content": asdict(against)})
    return tuple(rows)


def records_of(rows: Iterable[Mapping[str, Any]], kind: type[Record]) -> tuple[Record, ...]:
    """The records of one kind among rows (``kind``, ``content``), in their order.

    Raises:
        LedgerError: a row does not hold such a record: another version of this software wrote it.
    """
    name = next(known for known, made in _KINDS.items() if made is kind)
    return tuple(_record(kind, row["content"]) for row in rows if row["kind"] == name)


def map_of(rows: Iterable[Mapping[str, Any]], values: npt.NDArray[np.float32]) -> ParameterMap | None:
    """The map among rows, whose numbers the ledger does not keep: ``values``, axes (slice, row, column).

    Raises:
        LedgerError: as :func:`records_of` does.
    """
    content = next((row["content"] for row in rows if row["kind"] == "map"), None)
    if content is None:
        return None
    told = {key: value for key, value in content.items() if key not in ("lowest", "highest")}
    found: ParameterMap = _record(ParameterMap, {**told, "values": values})
    return found


def _record(kind: type[Any], content: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind) if field.init}
    try:
        if content.keys() - known:
            raise TypeError(f"{sorted(content.keys() - known)} is unknown")
        return kind(**{key: _value(hints[key], value) for key, value in content.items()})
    except (TypeError, ValueError) as error:
        raise LedgerError(
            f"a {kind.__name__.lower()} of the ledger cannot be read: {error}",
            reason="unreadable-finding",
            remedy="another version of dicom-node has written it: run the job again (dicom-node results replace)",
        ) from error


def _value(hint: Any, value: Any) -> Any:
    """A value of JSON as its field's type has it."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return None if value is None else _value(next(part for part in parts if part is not NoneType), value)
    if origin is tuple:
        every = parts[0] if parts[-1] is Ellipsis else None
        return tuple(_value(every or parts[index], item) for index, item in enumerate(value))
    if is_dataclass(hint) and isinstance(hint, type):
        return _record(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return value
