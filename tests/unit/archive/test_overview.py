"""All studies at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stories import Writer, full_ledger, new_ledger

from dicom_node.archive import decisions, overview
from dicom_node.archive.database import Database
from dicom_node.archive.story import story
from dicom_node.completion.watch import close_study


def test_the_newest_comes_first(tmp_path: Path) -> None:
    database, ids = full_ledger(tmp_path)
    found, total = overview.studies(database)
    assert total == len(ids)
    assert [study["id"] for study in found] == list(range(8, 0, -1))


def test_list_and_story_agree_on_where_a_study_stands(tmp_path: Path) -> None:
    database, _ = full_ledger(tmp_path)
    for study in overview.studies(database)[0]:
        told = story(database, study["id"])
        assert (study["standing"], study["standing_words"]) == (told["standing"], told["standing_words"])


def test_pages_hold_every_study_once(tmp_path: Path) -> None:
    database, _ = full_ledger(tmp_path)
    pages = [overview.studies(database, limit=3, offset=offset)[0] for offset in (0, 3, 6, 9)]
    assert [study["id"] for page in pages for study in page] == list(range(8, 0, -1))


@pytest.mark.parametrize("text", ["PAT001", "ACC001", "1.2.826.0.1.1"])
def test_a_study_is_found_by_what_people_know(tmp_path: Path, text: str) -> None:
    database, ids = full_ledger(tmp_path)
    found, total = overview.studies(database, find=text)
    assert (total, [study["id"] for study in found]) == (1, [ids["delivered"]])
    assert overview.matching(database, text) == ((ids["delivered"], "1.2.826.0.1.1"),)


def test_a_study_is_found_by_what_its_images_say_now(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2))
    assert overview.matching(archive.database, "A1") == overview.matching(archive.database, "P1") == ((1, "1.2.3.1"),)
    archive.add(archive.image(1, AccessionNumber="A2"), archive.image(2, AccessionNumber="A2"))
    archive.index.settle()
    assert overview.matching(archive.database, "A2") == ((1, "1.2.3.1"),)
    assert overview.matching(archive.database, "A1") == overview.matching(archive.database, "") == ()


def test_part_of_an_id_finds_nobody(tmp_path: Path) -> None:
    database, _ = full_ledger(tmp_path)
    assert overview.studies(database, find="PAT") == ([], 0)
    assert overview.matching(database, "PAT00%") == ()


def test_a_number_that_is_also_a_patient_names_both(tmp_path: Path) -> None:
    database = new_ledger(tmp_path)
    with database.write() as connection:
        writer = Writer(connection)
        first = writer.study(1, attributes={"PatientID": "2"})
        second = writer.study(2, attributes={"PatientID": "1", "AccessionNumber": "7"})
    assert [study_id for study_id, _ in overview.matching(database, str(second))] == [first, second]
    assert overview.matching(database, "7") == ((second, "1.2.826.0.1.2"),)
    assert overview.matching(database, "9" * 30) == ()


def test_counters(tmp_path: Path) -> None:
    database, _ = full_ledger(tmp_path)
    counted = overview.counters(database)
    assert counted["studies"] == {"held": 1, "open": 1, "ready": 6}
    assert counted["instances"] == {"conflict": 1, "current": 189, "rejected": 1}
    assert counted["jobs"] == {"done": 2, "failed": 1, "queued": 1, "running": 1}
    assert counted["parcels"] == {"due": 1, "sent": 1}
    assert counted["oldest_queued_seconds"] > 0
    assert counted["unaccounted"] == 0


def test_counters_of_an_empty_ledger(tmp_path: Path) -> None:
    counted = overview.counters(new_ledger(tmp_path))
    assert counted["studies"] == counted["jobs"] == {}
    assert counted["oldest_queued_seconds"] == 0


IMAGES = st.builds(
    dict,
    number=st.integers(1, 3),
    study=st.integers(1, 2),
    series=st.integers(1, 2),
    patient=st.sampled_from(["P1", "P2", None]),
    accession=st.sampled_from(["A1", "A2", None]),
    pixel=st.sampled_from([0, 0, 0, 1]),
)


def told(archive: Any, transactions: list[list[dict[str, Any]]], closed: bool) -> dict[str, Any]:
    """All that is shown of an archive after some images came."""
    for images in transactions:
        archive.add(*(_image(archive, **image) for image in images))
    archive.index.settle()
    (found, total), database = overview.studies(archive.database), archive.database
    if closed and found:
        close_study(database, found[0]["id"], "somebody")
        (seen, *_) = decisions.undecided(database)
        decisions.decided(database, seen, "no rule wants it: there are no rules")
    return {
        "studies": overview.studies(database),
        "total": total,
        "pages": [overview.studies(database, limit=1, offset=offset) for offset in range(3)],
        "found": {text: overview.studies(database, find=text) for text in ("P1", "P2", "A1", "A2", "1.2.3.1")},
        "matching": {text: overview.matching(database, text) for text in ("P1", "A1", "1.2.3.2", "1", "")},
        "counters": {
            key: count for key, count in overview.counters(database).items() if key != "oldest_queued_seconds"
        },
    }


def _image(
    archive: Any, number: int, study: int, series: int, patient: str | None, accession: str | None, pixel: int
) -> Any:
    uid = f"1.2.3.{study}"
    return archive.image(
        number,
        StudyInstanceUID=uid,
        SeriesInstanceUID=f"{uid}.{series}",
        SOPInstanceUID=f"{uid}.{series}.{number}",
        PatientID=patient,
        AccessionNumber=accession,
        PixelData=bytes([pixel] * 32),
    )


@pytest.mark.peer
@given(transactions=st.lists(st.lists(IMAGES, min_size=1, max_size=4), min_size=1, max_size=4), closed=st.booleans())
@settings(max_examples=20, deadline=None)
def test_both_databases_tell_the_same_and_owe_nothing(
    archive_factory: Any,
    postgresql: Any,
    tmp_path_factory: pytest.TempPathFactory,
    transactions: list[list[dict[str, Any]]],
    closed: bool,
) -> None:
    shown = []
    for url in ("sqlite", postgresql.database()):
        folder = tmp_path_factory.mktemp("archive")
        database = Database(url, folder)
        shown.append(told(archive_factory(folder, database), transactions, closed))
        database.close()
    assert shown[0] == shown[1]
    assert shown[0]["counters"]["unaccounted"] == 0
    assert sum(shown[0]["counters"]["instances"].values()) == sum(map(len, transactions))


def test_what_is_shown_is_what_its_standing_says(tmp_path: Path) -> None:
    database, _ = full_ledger(tmp_path)
    shown = {show: {each["id"] for each in overview.studies(database, show=show)[0]} for show in overview.Show}
    everything = overview.studies(database)[0]
    for study in everything:
        needs = study["standing"] in ("held", "failed", "undelivered")
        works = study["standing"] in ("arriving", "deciding", "queued", "running", "delivering")
        assert not needs or study["id"] in shown[overview.Show.ATTENTION], study
        assert not works or study["standing"] == "deciding" or study["id"] in shown[overview.Show.WORKING], study
    assert shown[overview.Show.ALL] == {each["id"] for each in everything}
    assert shown[overview.Show.DONE].isdisjoint(shown[overview.Show.ATTENTION] | shown[overview.Show.WORKING])
    rest = shown[overview.Show.ATTENTION] | shown[overview.Show.WORKING] | shown[overview.Show.DONE]
    assert rest == shown[overview.Show.ALL]
    assert overview.studies(database, show=overview.Show.DONE)[1] == len(shown[overview.Show.DONE])
