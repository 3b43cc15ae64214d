from stories import Writer

from dicom_node.archive import events
from dicom_node.archive.database import Database


def test_what_happened_is_told_in_its_order(database: Database) -> None:
    with database.write() as connection:
        study = Writer(connection).study(1)
        before = 0
        events.record(connection, "first", "tests", {"n": 1}, study_id=study)
        events.record(connection, "other", "tests")
        events.record(connection, "second", "tests", job_id=None, study_id=study)
    found = events.history(database, study)
    assert [each.kind for each in found] == ["first", "second"]
    assert (found[0].detail, found[1].detail, found[0].by) == ({"n": 1}, {}, "tests")
    assert found[0].at.tzinfo is not None
    assert [each.kind for each in events.since(database, before)] == ["first", "other", "second"]
    assert [each.kind for each in events.since(database, found[0].id, limit=1)] == ["other"]
    assert events.latest_id(database) == found[1].id


def test_what_did_not_happen_is_not_told(database: Database) -> None:
    assert events.latest_id(database) == 0
    assert events.history(database, 1) == events.since(database, 0) == ()
