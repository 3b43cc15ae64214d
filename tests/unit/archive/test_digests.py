from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from isal.isal_zlib import crc32
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import select, text

from dicom_node.archive import digests, readiness
from dicom_node.archive.digests import Digests, digest_of
from dicom_node.archive.header import header_of, read_header
from dicom_node.archive.index import Arrival
from dicom_node.archive.part10 import read_part10
from dicom_node.archive.receipt import Receipt, file_meta, seal, seal_at
from dicom_node.archive.schema import instance, series
from dicom_node.errors import NotDicomError

RECEIVED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EARLIER, LATER = RECEIVED - timedelta(seconds=1), RECEIVED + timedelta(seconds=1)


def scanned(archive: Any, *images: Any, **how: Any) -> list[str]:
    """Put images into the index as the indexer does."""
    arrivals = []
    for image in images:
        path = archive.put(image, **how)
        header = header_of(read_part10(path, digests=False), path)
        arrivals.append(Arrival(archive.store.relative(path), header))
    archive.index.add(arrivals)
    return [item.path for item in arrivals]


def ids(archive: Any, quiet_since: datetime, received_before: datetime) -> list[int]:
    return [one.id for one in Digests(archive.database).due(quiet_since, received_before, (), 10)]


def test_what_has_come_to_rest_is_due(archive: Any) -> None:
    scanned(archive, archive.image(1))
    assert ids(archive, EARLIER, EARLIER) == []
    assert ids(archive, LATER, EARLIER) == [1]  # its series is quiet
    assert ids(archive, EARLIER, LATER) == [1]  # it has waited for long


def test_the_end_of_its_association_makes_an_object_due(archive: Any) -> None:
    scanned(archive, archive.image(1))
    archive.index.association_ended("assoc-1", LATER)
    assert ids(archive, EARLIER, EARLIER) == [1]


def test_what_failed_is_left_out_and_no_more_than_wanted_is_given(archive: Any) -> None:
    scanned(archive, *(archive.image(number) for number in (1, 2, 3)))
    due = Digests(archive.database).due(LATER, EARLIER, {2}, 1)
    assert [one.id for one in due] in ([1], [3])


def test_a_digest_is_written_once_and_makes_the_series_judgeable(archive: Any) -> None:
    (path,) = scanned(archive, archive.image(1))
    assert readiness.quiet_series(archive.database, LATER) == ()
    found = digest_of(archive.store.absolute(path))
    Digests(archive.database).note({1: found})
    Digests(archive.database).note({1: "another"})
    assert archive.rows(instance)[0].digest == found == read_header(archive.store.absolute(path)).digest
    assert ids(archive, LATER, LATER) == []
    assert len(readiness.quiet_series(archive.database, LATER)) == 1


def test_the_search_uses_the_index_of_the_few_that_are_due(archive: Any) -> None:
    if archive.database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans by the size of the table")
    with archive.database.read() as connection:
        asked = select(instance.c.id).where(digests.WANTING)
        sql = str(asked.compile(archive.database.engine, compile_kwargs={"render_postcompile": True}))
        plan = connection.execute(text("EXPLAIN QUERY PLAN " + sql)).all()
    assert "ix_instance_undigested" in plan[0].detail


def sealed(archive: Any, image: Any, stored: bytes | None = None) -> Any:
    content = archive.part10(image)
    data = content[content.index(b"\x08\x00\x05\x00") :]
    receipt = Receipt("A", "B", "10.0.0.7", "assoc-1", RECEIVED, sealed=True)
    meta = bytearray(file_meta(image.SOPClassUID.encode(), b"1.2.3", ExplicitVRLittleEndian, receipt))
    at, stamp = seal_at(bytes(meta)), seal(len(data), crc32(data))
    meta[at : at + len(stamp)] = stamp
    return archive.put(bytes(meta) + (data if stored is None else stored))


def test_an_object_that_has_changed_on_the_disk_gets_none(archive: Any) -> None:
    path = sealed(archive, archive.image(1))
    assert digest_of(path) == read_header(path).digest
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(NotDicomError, match="changed on the disk") as caught:
        digest_of(path)
    assert caught.value.reason == "altered"


def test_the_same_object_again_is_known_before_either_has_a_digest(archive: Any) -> None:
    scanned(archive, archive.image(1))
    scanned(archive, archive.image(1))
    scanned(archive, archive.image(2), archive.image(2))
    states = [(row.state, row.reason) for row in archive.rows(instance)]
    assert states == [("current", ""), ("superseded", "the same object again")] * 2
    assert archive.rows(series)[0].instances == 2


def test_another_image_of_the_same_name_is_told_before_either_has_a_digest(archive: Any) -> None:
    scanned(archive, archive.image(1))
    scanned(archive, archive.image(1, PixelData=b"x" * 32))
    scanned(archive, archive.image(2), archive.image(2, PatientName="Roe^Jane"))
    assert [row.state for row in archive.rows(instance)] == ["current", "conflict", "superseded", "current"]
