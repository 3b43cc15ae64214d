"""Laws of the queue: one claim at a time, one commit ever, no attempt without a count."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import insert, select, update

from dicom_node.archive import events
from dicom_node.archive.claims import Claims
from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.results import Outcome
from dicom_node.archive.schema import job, result_set, study
from dicom_node.domain.fitness import NO_NEEDS, Abilities, Needs
from dicom_node.domain.job import JobState, NewJob, SelectedSeries, job_key
from dicom_node.domain.parcel import Artifact, ParcelState
from dicom_node.errors import Fenced, GeometryError, LedgerError, ModelRaised, PeerError

LEASE_S = 60.0


@pytest.fixture
def ledger(database: Database) -> Ledger:
    with database.write() as connection:
        connection.execute(
            insert(study).values(
                site_id=1,
                study_uid="1.2.3",
                state="open",
                readiness={},
                outcome="",
                attributes={},
                first_received=db_now(),
                last_received=db_now(),
                changed_at=db_now(),
            )
        )
    return Ledger(database)


def new_job(digests: tuple[str, ...] = ("a", "b"), rule: str = "lungs", needs: Needs = NO_NEEDS) -> NewJob:
    selected = SelectedSeries("ct", 7, "1.2.3.4", tuple(range(1, len(digests) + 1)), digests)
    return NewJob(
        study_id=1,
        key=job_key("1.2.3", [selected], "digest", {}),
        rule=rule,
        model="ct_lung_density",
        model_version="1.0.0",
        model_digest="digest",
        inputs=(selected,),
        parameters={},
        destinations=("pacs",),
        withheld={},
        explanation={},
        needs=needs,
    )


def planned(ledger: Ledger, new: NewJob | None = None) -> int:
    job_id = ledger.plan(new or new_job())
    assert job_id is not None
    return job_id


def outcome(uid: str = "2.25.1") -> Outcome:
    made = Artifact("seg", uid, "1.2.840.10008.5.1.4.1.1.66.4", "2.25.9", "1.2.840.10008.1.2.1", "0" * 64, "r/a", 3)
    content = {"kind": "measurement", "name": "volume", "tracking_uid": None, "content": {"value": 1.0}}
    return Outcome((content,), (made,), {}, {"load": 0.1}, {"torch": "2"})


def expired(ledger: Ledger, job_id: int) -> None:
    with ledger.database.write() as connection:
        connection.execute(update(job).where(job.c.id == job_id).values(lease_until=db_later(-1)))


def test_same_content_is_planned_once(ledger: Ledger) -> None:
    assert ledger.plan(new_job()) is not None
    assert ledger.plan(new_job()) is None
    assert len(ledger.jobs()) == 1


def test_key_ignores_the_order_of_arrival_and_nothing_else() -> None:
    forward = SelectedSeries("ct", 7, "1.2", (1, 2), ("a", "b"))
    backward = SelectedSeries("ct", 9, "1.2", (4, 3), ("b", "a"))
    other = SelectedSeries("ct", 7, "1.2", (1, 2), ("a", "c"))
    key: Callable[[SelectedSeries], str] = lambda selected: job_key("1", [selected], "m", {})  # noqa: E731
    assert key(forward) == key(backward) != key(other)
    assert job_key("1", [forward], "m", {"x": 1}) != key(forward)


def test_only_one_claims(ledger: Ledger) -> None:
    job_id = planned(ledger)
    assert ledger.claim(job_id, "a:1", LEASE_S) is not None
    assert ledger.claim(job_id, "b:2", LEASE_S) is None


def test_expired_lease_can_be_claimed_and_the_zombie_commits_nothing(ledger: Ledger) -> None:
    job_id = planned(ledger)
    zombie = ledger.claim(job_id, "a:1", LEASE_S)
    assert zombie is not None
    expired(ledger, job_id)
    second = ledger.claim(job_id, "b:2", LEASE_S)
    assert second is not None
    assert second.attempt == 2
    assert not ledger.heartbeat(zombie, LEASE_S, "late")
    with pytest.raises(Fenced):
        ledger.commit(zombie, outcome())
    with pytest.raises(Fenced):
        ledger.fail(zombie, ModelRaised("late"), again=True)
    assert not ledger.release(zombie)
    ledger.commit(second, outcome())
    assert ledger.artifacts(job_id) == outcome().artifacts
    with pytest.raises(Fenced):
        ledger.commit(second, outcome("2.25.2"))


def test_commit_leaves_findings_and_a_parcel_for_each_destination(ledger: Ledger) -> None:
    job_id = planned(ledger, replace(new_job(), destinations=("pacs", "archive")))
    claim = ledger.claim(job_id, "a:1", LEASE_S)
    assert claim is not None
    ledger.commit(claim, outcome())
    parcels = Parcels(ledger.database).due()
    assert sorted(parcel.destination for parcel in parcels) == ["archive", "pacs"]
    assert all(parcel.artifacts == outcome().artifacts for parcel in parcels)
    assert ledger.findings(job_id) == ({"kind": "measurement", "name": "volume", "state": "proposed", "value": 1.0},)
    done = ledger.job(job_id)
    assert done is not None
    assert (done.state, done.timings, done.error) == (JobState.DONE, {"load": 0.1}, None)


def test_failures_count_until_quarantine(ledger: Ledger) -> None:
    job_id = planned(ledger)
    states = []
    for _ in range(3):
        with ledger.database.write() as connection:
            connection.execute(update(job).values(run_after=db_now()))
        claim = ledger.claim(job_id, "a:1", LEASE_S)
        assert claim is not None
        states.append(ledger.fail(claim, ModelRaised("boom"), again=True, traceback="…"))
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.QUARANTINED]
    failed = ledger.job(job_id)
    assert failed is not None
    assert failed.error is not None
    assert failed.error["reason"] == "model-raised"
    assert ledger.claim(job_id, "a:1", LEASE_S) is None


def test_input_that_cannot_be_used_fails_at_once(ledger: Ledger) -> None:
    claim = ledger.claim(planned(ledger), "a:1", LEASE_S)
    assert claim is not None
    assert ledger.fail(claim, GeometryError("gap", reason="missing-slice"), again=False) == JobState.FAILED


def test_trouble_of_the_infrastructure_costs_no_attempt(ledger: Ledger) -> None:
    job_id = planned(ledger)
    for _ in range(5):
        with ledger.database.write() as connection:
            connection.execute(update(job).values(run_after=db_now()))
        claim = ledger.claim(job_id, "a:1", LEASE_S)
        assert claim is not None
        assert ledger.fail(claim, LedgerError("disk"), again=True, excused=True) == JobState.QUEUED


def test_lost_workers_count_too(ledger: Ledger) -> None:
    job_id = planned(ledger)
    for _ in range(3):
        assert ledger.claim(job_id, "a:1", LEASE_S) is not None
        assert ledger.expire(["a:1"]) == 1
    lost = ledger.job(job_id)
    assert lost is not None
    assert lost.state == JobState.QUARANTINED
    ledger.retry(job_id, "admin")
    assert ledger.claim(job_id, "a:1", LEASE_S) is not None


def test_living_leases_do_not_expire(ledger: Ledger) -> None:
    job_id = planned(ledger)
    ledger.claim(job_id, "a:1", LEASE_S)
    assert ledger.expire(["b:2"]) == 0
    expired(ledger, job_id)
    assert ledger.expire() == 1


def test_retry_refuses_what_is_not_over(ledger: Ledger) -> None:
    job_id = planned(ledger)
    with pytest.raises(LedgerError, match="is queued"):
        ledger.retry(job_id, "admin")
    with pytest.raises(LedgerError, match="no job 99"):
        ledger.retry(99, "admin")


def test_another_selection_supersedes_what_is_unfinished(ledger: Ledger) -> None:
    first = planned(ledger)
    claim = ledger.claim(first, "a:1", LEASE_S)
    assert claim is not None
    second = planned(ledger, new_job(("a", "b", "c")))
    with pytest.raises(Fenced):
        ledger.commit(claim, outcome())
    states = {found.id: found.state for found in ledger.jobs()}
    assert states == {first: JobState.SUPERSEDED, second: JobState.QUEUED}


def test_another_selection_supersedes_what_has_failed(ledger: Ledger) -> None:
    first = planned(ledger)
    claim = ledger.claim(first, "a:1", LEASE_S)
    assert claim is not None
    ledger.fail(claim, GeometryError("gap", reason="missing-slice"), again=False)
    second = planned(ledger, new_job(("a", "b", "c")))
    assert {found.id: found.state for found in ledger.jobs()} == {
        first: JobState.SUPERSEDED,
        second: JobState.QUEUED,
    }


def test_newer_result_replaces_the_older_and_holds_its_unsent_parcel(ledger: Ledger) -> None:
    first = planned(ledger)
    claim = ledger.claim(first, "a:1", LEASE_S)
    assert claim is not None
    ledger.commit(claim, outcome())
    second = ledger.claim(planned(ledger, new_job(("a", "b", "c"))), "a:1", LEASE_S)
    assert second is not None
    ledger.commit(second, outcome("2.25.2"))
    with ledger.database.read() as connection:
        standing = connection.execute(select(result_set.c.standing).order_by(result_set.c.id)).scalars().all()
    assert standing == ["superseded", "current"]
    assert [parcel.state for parcel in Parcels(ledger.database).all()] == [ParcelState.HELD, ParcelState.DUE]


def test_a_result_that_is_replaced_is_neither_looked_for_nor_sent_again(ledger: Ledger) -> None:
    parcels = Parcels(ledger.database)
    first = ledger.claim(planned(ledger), "a:1", LEASE_S)
    assert first is not None
    ledger.commit(first, outcome())
    (old,) = parcels.due()
    parcels.sent(old.id, verify_after_s=0)
    second = ledger.claim(planned(ledger, new_job(("a", "b", "c"))), "a:1", LEASE_S)
    assert second is not None
    ledger.commit(second, outcome("2.25.2"))
    assert Claims(parcels.database).to_verify("pacs", "box:1", 30.0, 20) == []
    with pytest.raises(LedgerError, match="superseded"):
        parcels.retry(old.id, "admin")


def test_two_reconcilers_take_back_each_lost_job_once(ledger: Ledger) -> None:
    jobs = [planned(ledger, new_job((str(number),), rule=f"rule {number}")) for number in range(6)]
    for job_id in jobs:
        assert ledger.claim(job_id, "a:1", LEASE_S) is not None
        expired(ledger, job_id)
    with ThreadPoolExecutor(4) as pool:
        taken_back = [future.result() for future in [pool.submit(ledger.expire, ("a:1",)) for _ in range(8)]]
    assert sum(taken_back) == len(jobs)
    kinds = [event.kind for event in events.since(ledger.database, 0)]
    assert kinds.count("worker lost") == len(jobs)
    assert {found.state for found in ledger.jobs()} == {JobState.QUEUED}


def test_messages_are_sent_once_and_again_when_the_broker_lost_them(ledger: Ledger) -> None:
    job_id = planned(ledger)
    assert [queued.id for queued in ledger.to_publish(120)] == [job_id]
    ledger.mark_published(ledger.to_publish(120))
    assert ledger.to_publish(120) == ()
    assert [queued.id for queued in ledger.to_publish(-1)] == [job_id]
    assert ledger.unpublish() == 1
    assert [queued.id for queued in ledger.to_publish(120)] == [job_id]


def test_a_message_counts_as_lost_sooner_where_a_worker_that_may_run_the_job_is_idle(ledger: Ledger) -> None:
    small, large = planned(ledger), planned(ledger, new_job(("2",), rule="large", needs=Needs(16000)))
    ledger.mark_published(ledger.to_publish(120))
    weak, strong = Abilities(8000), Abilities(24000)
    assert [queued.id for queued in ledger.to_publish(120, [weak], -1)] == [small]
    assert [queued.id for queued in ledger.to_publish(120, [weak, strong], -1)] == [small, large]
    assert ledger.to_publish(120, [strong], 120) == ()


def test_parcel_that_fails_waits_and_tells_once(ledger: Ledger) -> None:
    claim = ledger.claim(planned(ledger), "a:1", LEASE_S)
    assert claim is not None
    ledger.commit(claim, outcome())
    parcels = Parcels(ledger.database)
    parcel = parcels.due()[0]
    for _ in range(3):
        parcels.failed(parcel.id, PeerError("refused"), pause_s=60)
    assert parcels.due() == ()
    assert parcels.all()[0].tries == 3
    told = [event for event in events.history(ledger.database, 1) if event.kind == "parcel not sent"]
    assert len(told) == 1
    parcels.retry(parcel.id, "admin")
    parcels.sent(parcels.due()[0].id)
    assert parcels.counts() == {"sent": 1}
