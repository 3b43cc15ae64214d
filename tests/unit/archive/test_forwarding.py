"""What is sent on: each object to each destination once, whatever comes again, later or corrected."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select, update

from dicom_node.archive import forwarding
from dicom_node.archive.forwarding import SUPERSEDED, Forwarded, Order, forward
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.schema import forwarding as table
from dicom_node.archive.schema import instance, parcel
from dicom_node.domain.parcel import ParcelState
from dicom_node.errors import LedgerError

TO_PACS = Order(1, "all", "pacs", "PACS", None)


def sent_uids(archive: Any, destination: str = "pacs") -> list[str]:
    """SOP Instance UIDs in the parcels to a destination, in their order."""
    found = [each for each in Parcels(archive.database).all() if each.destination == destination]
    return [made.sop_uid for each in found for made in each.artifacts]


def set_state(archive: Any, state: ParcelState, **values: Any) -> None:
    with archive.database.write() as connection:
        connection.execute(update(parcel).values(state=state, **values))


def test_each_object_is_planned_once_and_what_comes_later_follows(archive: Any) -> None:
    archive.add(*(archive.image(n) for n in (1, 2, 3)))
    assert forward(archive.database, TO_PACS) == Forwarded((1,), 3, 0, 0)
    assert forward(archive.database, TO_PACS) == Forwarded((), 0, 3, 0)
    archive.add(archive.image(1), archive.image(4))  # one again, one new
    assert forward(archive.database, TO_PACS) == Forwarded((2,), 1, 3, 0)
    assert sent_uids(archive) == [f"1.2.3.1.1.{n}" for n in (1, 2, 3, 4)]
    assert archive.events("forwarding planned")[1] == {"rule": "all", "destination": "pacs", "objects": 1}


def test_rules_share_what_a_destination_gets(archive: Any) -> None:
    archive.add(archive.image(1))
    forward(archive.database, TO_PACS)
    assert forward(archive.database, Order(1, "other", "pacs", "PACS", None)) == Forwarded((), 0, 1, 0)
    assert forward(archive.database, Order(1, "other", "archive", "ARCHIVE", None)).planned == 1


def test_series_and_sop_classes_are_chosen(archive: Any) -> None:
    other = {"SeriesInstanceUID": "1.2.3.1.2", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}
    archive.add(archive.image(1), archive.image(2, **other))
    assert forward(archive.database, Order(1, "one", "a", "A", (1,))).planned == 1
    assert forward(archive.database, Order(1, "one", "b", "B", None, (other["SOPClassUID"],))).planned == 1
    assert (sent_uids(archive, "a"), sent_uids(archive, "b")) == (["1.2.3.1.1.1"], ["1.2.3.1.1.2"])


def test_what_a_peer_has_sent_does_not_go_back_to_it(archive: Any) -> None:
    archive.add(archive.image(1))
    back = Order(1, "all", "scanner", "MODALITY ", None)
    assert forward(archive.database, back) == Forwarded((), 0, 0, 1)
    assert forward(archive.database, back) == Forwarded((), 0, 0, 1)
    (told,) = archive.events("loop cut")
    assert (told["reason"], told["objects"], told["destination"]) == ("came-from-there", 1, "scanner")
    assert Parcels(archive.database).all() == ()


def test_a_revision_follows_and_replaces_what_has_not_gone_yet(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2))
    forward(archive.database, TO_PACS)
    archive.add(archive.image(1, PatientName="Doe^Janet"))
    assert forward(archive.database, TO_PACS).planned == 1
    first, second = Parcels(archive.database).all()
    assert [made.sop_uid for made in first.artifacts] == ["1.2.3.1.1.2"]
    assert [made.sop_uid for made in second.artifacts] == ["1.2.3.1.1.1"]


def test_a_parcel_of_which_nothing_is_left_is_held_for_good(archive: Any) -> None:
    archive.add(archive.image(1))
    forward(archive.database, TO_PACS)
    archive.add(archive.image(1, PatientName="Doe^Janet"))
    forward(archive.database, TO_PACS)
    first, second = Parcels(archive.database).all()
    assert (first.state, first.error, second.state) == (ParcelState.HELD, SUPERSEDED, ParcelState.DUE)
    with pytest.raises(LedgerError, match="superseded"):
        Parcels(archive.database).release(1, "me")


def test_a_delivered_revision_stays_and_is_never_sent_after_the_later_one(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2))
    forward(archive.database, TO_PACS)
    set_state(archive, ParcelState.PRESENT)
    archive.add(archive.image(1, PatientName="Doe^Janet"))
    forward(archive.database, TO_PACS)
    assert len(Parcels(archive.database).all()[0].artifacts) == 2
    assert Parcels(archive.database).resend(1, "me") == [1, 2]
    assert sent_uids(archive) == ["1.2.3.1.1.2", "1.2.3.1.1.1"]
    set_state(archive, ParcelState.PRESENT)
    archive.add(archive.image(2, PatientName="Doe^Janet"))
    forward(archive.database, TO_PACS)
    with pytest.raises(LedgerError, match="superseded"):
        Parcels(archive.database).retry(1, "me")


def test_what_was_lost_is_sent_as_it_is_now(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2))
    forward(archive.database, TO_PACS)
    set_state(archive, ParcelState.SENT, taken=["1.2.3.1.1.1", "1.2.3.1.1.2"])
    archive.add(archive.image(1, PatientName="Doe^Janet"))
    Parcels(archive.database).lost(1, ["1.2.3.1.1.1", "1.2.3.1.1.2"], LedgerError("gone"))
    assert [made.sop_uid for made in Parcels(archive.database).all()[0].missing] == ["1.2.3.1.1.2"]


def test_revisions_without_end_are_a_loop(archive: Any) -> None:
    for number in range(forwarding.MOST_REVISIONS + 2):
        archive.add(archive.image(1, AccessionNumber=f"A{number}"))
        forward(archive.database, TO_PACS)
    assert len(Parcels(archive.database).all()) == forwarding.MOST_REVISIONS
    assert {told["reason"] for told in archive.events("loop cut")} == {"too-many-revisions"}


def test_a_large_study_goes_in_several_parcels(archive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "OBJECTS_PER_PARCEL", 2)
    archive.add(*(archive.image(n) for n in range(1, 6)))
    assert forward(archive.database, TO_PACS) == Forwarded((1, 2, 3), 5, 0, 0)
    assert len(sent_uids(archive)) == len(set(sent_uids(archive))) == 5


def test_own_results_and_fetched_images_are_not_sent_on(archive: Any) -> None:
    archive.add(archive.image(1), archive.image(2))
    with archive.database.write() as connection:
        connection.execute(update(instance).where(instance.c.id == 1).values(origin="prefetched"))
    forward(archive.database, TO_PACS)
    assert sent_uids(archive) == ["1.2.3.1.1.2"]


@pytest.mark.parametrize("statement", range(1, 5))
def test_planning_that_dies_between_any_two_steps_is_made_good(archive: Any, statement: int) -> None:
    archive.add(*(archive.image(n) for n in (1, 2, 3)))
    seen = 0

    def die(connection: Any, cursor: Any, text: str, *_: Any) -> None:
        nonlocal seen
        seen += text.lstrip().upper().startswith(("INSERT", "COMMIT", "UPDATE"))
        if seen == statement:
            raise KeyboardInterrupt

    engine = archive.database.engine
    sqlalchemy_event.listen(engine, "before_cursor_execute", die)
    try:
        with pytest.raises(KeyboardInterrupt):
            forward(archive.database, TO_PACS)
            raise KeyboardInterrupt  # after the last step
    finally:
        sqlalchemy_event.remove(engine, "before_cursor_execute", die)
    forward(archive.database, TO_PACS)
    assert sorted(sent_uids(archive)) == [f"1.2.3.1.1.{n}" for n in (1, 2, 3)]
    with archive.database.read() as connection:
        rows = connection.execute(select(table.c.instance_id, table.c.parcel_id)).all()
    (made,) = Parcels(archive.database).all()
    assert sorted(rows) == [(number, made.id) for number in (1, 2, 3)]


def test_planners_at_the_same_time_plan_once(
    new_database: Callable[[Path], Any], archive_factory: Any, tmp_path: Path
) -> None:
    archive = archive_factory(tmp_path, new_database(tmp_path))
    archive.add(*(archive.image(n) for n in range(1, 21)))
    start = threading.Barrier(4)

    def plan() -> None:
        start.wait()
        forward(archive.database, TO_PACS)

    threads = [threading.Thread(target=plan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sent_uids(archive)) == sorted(f"1.2.3.1.1.{n}" for n in range(1, 21))
