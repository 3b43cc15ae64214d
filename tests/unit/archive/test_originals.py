"""What an object said before others coerced it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dicom_node.archive.coercion import coerced
from dicom_node.archive.header import read_header
from dicom_node.archive.originals import before_coercion
from dicom_node.domain.changes import Changes, Coercion

AT = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = Coercion(Changes(prefix={"PatientID": "A-"}, set={"IssuerOfPatientID": "A"}), "A", AT)
SECOND = Coercion(Changes(set={"InstitutionName": "B"}, remove=("PatientComments",)), "B", AT)


def changed(archive: Any, path: Path, *coercions: Coercion) -> Path:
    for coercion in coercions:
        with coerced(path, coercion) as file:
            path = archive.put(file.read())
    return path


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_each_step_is_undone(archive: Any, syntax: str) -> None:
    path = archive.put(archive.part10(archive.image(1, PatientComments="kind", PatientID="Müller"), syntax))
    original = read_header(path)
    last = changed(archive, path, FIRST, SECOND)
    once, never = before_coercion(last, read_header(last))
    assert once.attributes["PatientID"] == "A-Müller"
    assert "InstitutionName" not in once.attributes
    assert never.attributes == original.attributes


def test_a_correction_is_not_undone(archive: Any) -> None:
    path = changed(archive, archive.put(archive.part10(archive.image(1))), FIRST)
    path.write_bytes(path.read_bytes().replace(b"COERCE", b"RIGHT "))
    assert list(before_coercion(path, read_header(path))) == []


def test_without_a_change_there_is_nothing_to_undo(archive: Any) -> None:
    path = archive.put(archive.part10(archive.image(1)))
    assert list(before_coercion(path, read_header(path))) == []
