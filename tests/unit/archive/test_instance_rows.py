from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from dicom_node.archive.database import Database
from dicom_node.archive.instance_rows import insert_rows, planes_text, rejected_row, row_of
from dicom_node.archive.schema import instance
from dicom_node.domain.grid import ImagePlane
from dicom_node.domain.study import InstanceState, Origin

AT = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)


def rows(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        found = connection.execute(select(instance).order_by(instance.c.id)).mappings().all()
    return [{key: value for key, value in row.items() if key not in ("id", "revision")} for row in found]


def test_rows_are_those_that_the_library_would_write(archive: Any, database: Database) -> None:
    headers = [archive.arrival(archive.image(number)).header for number in (1, 2)]
    made = [
        *(
            row_of(one, "a", study_id=None, series_id=None, state=InstanceState.CURRENT, origin=Origin.ROUTED)
            for one in headers
        ),
        rejected_row("b", "1.2.3", study_id=None, size=12, received_at=AT),
    ]
    for number, row in enumerate(made):
        row |= {"site_id": 1, "reason": "", "revision": 1, "path": f"objects/{number}"}
    with database.write() as connection:
        insert_rows(connection, made)
    written = rows(database)
    assert [row["plane"] and row["plane"]["stacks"][0]["positions"] for row in written] == [
        [[0, 0, 2]],
        [[0, 0, 4]],
        None,
    ]
    assert [row["received_at"] for row in written] == [headers[0].received_at, headers[1].received_at, AT]
    assert [row["instance_number"] for row in written] == [1, 2, None]

    with database.write() as connection:
        plain = [
            {**row, "plane": written[number]["plane"], "revision": 2, "path": f"again/{number}"}
            for number, row in enumerate(made)
        ]
        connection.execute(insert(instance), plain)
    again = rows(database)[3:]
    assert [{**row, "path": ""} for row in again] == [{**row, "path": ""} for row in written]


def test_nothing_is_written_of_nothing(database: Database) -> None:
    with database.write() as connection:
        insert_rows(connection, [])
    assert rows(database) == []


_NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(_NUMBER, min_size=11, max_size=11))
def test_the_geometry_of_one_image_is_written_as_that_of_many(numbers: list[float]) -> None:
    spacing, orientation, position = tuple(numbers[:2]), tuple(numbers[2:8]), tuple(numbers[8:])
    plane = ImagePlane(512, 256, spacing, orientation, position)  # type: ignore[arg-type]
    one, two = planes_text([plane]), planes_text([plane, plane])
    assert two == one.replace("]}]}", f", {one[one.index('positions') + 13 : -4]}]}}]}}")
