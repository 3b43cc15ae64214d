"""What comes back after it was sent on: recognised, kept, and without consequences."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dicom_node.archive.coercion import coerced
from dicom_node.archive.forwarding import Order, forward
from dicom_node.archive.schema import instance
from dicom_node.domain.changes import Changes, Coercion

B = Coercion(Changes(set={"IssuerOfPatientID": "B"}, prefix={"PatientID": "B-"}), "B", datetime(2026, 1, 1, tzinfo=UTC))
C = Coercion(
    Changes(remove=("RequestingService",), set={"StudyDescription": "c"}), "C", datetime(2026, 1, 2, tzinfo=UTC)
)


def from_(content: bytes, sender: bytes) -> bytes:
    """The file as if another application entity had sent it."""
    assert b"MODALITY" in content
    return content.replace(b"MODALITY", sender.ljust(8))


def changed(archive: Any, content: bytes, *coercions: Coercion) -> bytes:
    for coercion in coercions:
        with coerced(archive.put(content), coercion) as file:
            content = file.read()
    return content


@pytest.fixture
def sent(archive: Any) -> bytes:
    """An image that was sent on to B."""
    archive.add(archive.image(1))
    forward(archive.database, Order(1, "on", "b", "B", None))
    (row,) = archive.rows(instance)
    return bytes(archive.store.absolute(row.path).read_bytes())


def states(archive: Any) -> list[str]:
    return [row.state for row in archive.rows(instance)]


@pytest.mark.parametrize("coercions", [(), (B,), (B, C)])
def test_what_comes_back_counts_for_nothing(archive: Any, sent: bytes, coercions: tuple[Coercion, ...]) -> None:
    archive.add(from_(changed(archive, sent, *coercions), b"B"))
    assert states(archive) == ["current", "superseded"]
    assert archive.rows(instance)[1].reason.startswith("what was sent on came back from B")
    assert archive.events("sent on objects came back") == [{"count": 1}]
    assert forward(archive.database, Order(1, "on", "c", "C", None)).planned == 1  # the one that we have


def test_an_earlier_revision_that_comes_back_late_changes_nothing(archive: Any, sent: bytes) -> None:
    archive.add(archive.image(1, PatientName="Doe^Janet"))
    archive.add(from_(changed(archive, sent, B), b"C"), from_(sent, b"C"))
    assert states(archive) == ["superseded", "current", "superseded", "superseded"]


def test_a_correction_is_a_revision(archive: Any, sent: bytes) -> None:
    archive.add(from_(changed(archive, sent, B).replace(b"COERCE", b"CORRECT"[:6]), b"B"))
    assert states(archive) == ["superseded", "current"]


def test_another_change_beside_what_is_told_is_a_revision(archive: Any, sent: bytes) -> None:
    archive.add(from_(changed(archive, sent, B).replace(b"Doe^Jane", b"Roe^Jane"), b"B"))
    assert states(archive) == ["superseded", "current"]


def test_what_was_never_sent_on_cannot_come_back(archive: Any) -> None:
    archive.add(archive.image(1))
    content = archive.store.absolute(archive.rows(instance)[0].path).read_bytes()
    archive.add(from_(changed(archive, content, B), b"B"))
    assert states(archive) == ["superseded", "current"]


def test_the_sender_may_send_it_again(archive: Any, sent: bytes) -> None:
    archive.add(sent)
    assert archive.events("duplicates received") == [{"count": 1}]
    assert archive.events("sent on objects came back") == []
