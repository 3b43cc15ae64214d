"""No two lanes send the same parcel."""

from __future__ import annotations

import threading

from sqlalchemy import update
from stories import Writer

from dicom_node.archive.claims import Claims
from dicom_node.archive.database import Database, db_now
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.schema import job, parcel
from dicom_node.domain.job import Priority


def fill(database: Database, count: int, destination: str = "pacs") -> list[int]:
    made = []
    with database.write() as connection:
        writer = Writer(connection)
        for number in range(count):
            study = writer.study(number + 1)
            result_set = writer.result(writer.job(study, 1, "done"))
            made.append(writer.parcel(study, result_set, "due", destination=destination))
        connection.execute(update(parcel).values(next_try=db_now()))
    return made


def test_what_one_lane_has_claimed_no_other_gets(database: Database) -> None:
    claims, numbers = Claims(database), fill(database, 5)
    assert claims.waiting("pacs") == 5
    assert claims.to_send("pacs", "a", 30, 3) == numbers[:3]
    assert claims.to_send("pacs", "b", 30, 9) == numbers[3:]
    assert claims.to_send("pacs", "c", 30, 9) == []
    assert claims.destinations() == frozenset()
    assert Parcels(database).due("pacs") == ()
    claims.release("a")
    assert claims.to_send("pacs", "c", 30, 9) == numbers[:3]


def test_a_lease_that_is_not_renewed_ends(database: Database) -> None:
    claims, numbers = Claims(database), fill(database, 2)
    claims.to_send("pacs", "a", 0, 1)
    claims.to_send("pacs", "b", 0, 2)
    claims.renew(["b"], 30)
    assert claims.to_send("pacs", "c", 30, 9) in (numbers[:1], [])  # of both, b was the last to claim the first
    assert claims.waiting("pacs") == 0


def test_the_claims_of_dead_lanes_are_given_up(database: Database) -> None:
    claims, numbers = Claims(database), fill(database, 2)
    claims.to_send("pacs", "dead", 3600, 1)
    claims.to_send("pacs", "alive", 3600, 1)
    assert claims.abandon(lambda owner: owner == "dead") == 1
    assert claims.to_send("pacs", "c", 30, 9) == numbers[:1]


def test_stat_goes_first_and_alone_outside_hours(database: Database) -> None:
    claims, numbers = Claims(database), fill(database, 3)
    with database.write() as connection:
        connection.execute(update(job).values(priority=int(Priority.ROUTINE)))
        connection.execute(update(job).where(job.c.id == 3).values(priority=int(Priority.STAT)))
    assert claims.destinations(stat_only=["pacs"]) == {"pacs"}
    assert claims.destinations(closed=["pacs"]) == frozenset()
    assert claims.to_send("pacs", "a", 30, 9, stat_only=True) == [numbers[2]]
    assert claims.destinations(stat_only=["pacs"]) == frozenset()
    claims.release("a")
    assert claims.to_send("pacs", "a", 30, 9) == [numbers[2], numbers[0], numbers[1]]


def test_many_lanes_at_once_share_without_overlap(database: Database) -> None:
    fill(database, 40)
    got: list[int] = []
    lock = threading.Lock()

    def take(owner: str) -> None:
        claims = Claims(database)
        while found := claims.to_send("pacs", owner, 30, 3):
            with lock:
                got.extend(found)

    threads = [threading.Thread(target=take, args=(f"lane{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # A lane that found the rows of others locked may have ended early; what is left is there for the next.
    left = Claims(database).to_send("pacs", "last", 30, 40)
    assert sorted(got + left) == sorted(set(got + left))
    assert len(got + left) == 40
