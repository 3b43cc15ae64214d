"""What the planner makes of a study: planned once, on the right series, for the right peers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from planner_bench import Bench, view
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import update

from dicom_node.archive import decisions, succession
from dicom_node.archive.database import Database, db_later
from dicom_node.archive.results import Outcome
from dicom_node.archive.schema import instance, job, series, study
from dicom_node.catalogue import Catalogue
from dicom_node.domain.fitness import Needs
from dicom_node.domain.job import JobState, Priority
from dicom_node.domain.study import Readiness
from dicom_node.jobs.plan import Planner
from dicom_node.rules.match import RuleSet
from dicom_node.settings import Configuration, Source

NewDatabase = Callable[[Path], Database]


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def test_whole_series_is_planned_once_with_all_its_images(bench: Bench) -> None:
    assert bench.show(view()) == 1
    assert bench.show(view()) == 0
    (job,) = bench.ledger.jobs()
    assert (job.rule, job.model, job.destinations) == ("chest CT", "ct_lung_density", ("pacs",))
    assert len(job.inputs[0].instances) == 30
    assert f"job {job.id} queued" in bench.outcome()


def test_called_ae_title_decides_the_priority(database: Database) -> None:
    bench = Bench(database, {"priority": "stat", "all": ['called_ae == "STAT"', 'Modality == "CT"']})
    assert bench.show(view()) == 0  # called NODE
    assert bench.show(replace(view(), called_ae="STAT")) == 1
    assert [(job.rule, job.priority) for job in bench.ledger.jobs()] == [("chest CT", Priority.STAT)]


def test_called_ae_title_has_a_priority_of_its_own(database: Database) -> None:
    bench = Bench(database, node={"called_ae_priorities": {"STAT": "stat"}})
    bench.show(replace(view(), called_ae="STAT"))
    (found,) = bench.ledger.jobs()
    assert (found.priority, found.priority_source) == (Priority.STAT, "called AE title STAT")


def test_rule_and_model_say_what_a_worker_must_have(database: Database) -> None:
    bench = Bench(database, {"labels": ["site-b"]})
    bench.show(view())
    assert bench.ledger.jobs()[0].needs == Needs(0, frozenset({"site-b"}))


def test_study_that_did_not_change_is_not_looked_at_again(bench: Bench) -> None:
    bench.show(view())
    assert bench.planner.tick() == 0
    assert "planned job 1" in bench.outcome()


def test_series_that_is_not_whole_waits_and_says_why(bench: Bench) -> None:
    assert bench.show(view(ready=False)) == 0
    assert "waiting: series 1.2.1 is not whole yet (3 s since the last image)" in bench.outcome()


def test_study_trigger_waits_for_the_study(database: Database) -> None:
    bench = Bench(database, {"trigger": "study"})
    assert bench.show(view()) == 0
    assert "the study is not whole yet" in bench.outcome()
    assert bench.show(view(), whole=True) == 1


def test_rule_may_wait_longer_than_the_node(database: Database) -> None:
    bench = Bench(database, {"quiet_seconds": 0.4})
    assert bench.show(view(), quiet_s=0.0) == 0
    assert "0.4 s without new images" in bench.outcome()
    assert bench.show(view(), quiet_s=1.0) == 1


def test_rule_without_a_period_of_its_own_waits_for_the_node_s(bench: Bench) -> None:
    assert bench.show(view(), quiet_s=10) == 0
    assert "30 s without new images" in bench.outcome()
    assert bench.show(view(), quiet_s=31) == 1


def test_rule_that_waits_looks_again_by_itself(database: Database) -> None:
    bench = Bench(database, {"quiet_seconds": 0.2})
    bench.show(view(), quiet_s=0.0)
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while not bench.ledger.jobs() and datetime.now(UTC) < deadline:
        bench.planner.tick()
    assert len(bench.ledger.jobs()) == 1


def test_a_study_whose_images_arrive_is_looked_at_seldom_until_a_series_is_whole(bench: Bench) -> None:
    bench.show(view(instances=20, ready=False), quiet_s=0.0)
    looks: list[int] = []
    look = bench.planner._study_view
    bench.planner._study_view = lambda study_id: looks.append(study_id) or look(study_id)  # type: ignore[func-returns-value]
    for _ in range(3):
        bench.show(view(instances=20, ready=False), quiet_s=0.0)
    assert looks == []
    with bench.database.write() as connection:
        connection.execute(update(series).values(state="ready"))
    bench.show(view(instances=20), quiet_s=0.0)
    assert len(looks) == 1


def test_no_job_is_planned_on_images_without_digests(bench: Bench) -> None:
    bench._store(view())
    with bench.database.write() as connection:
        connection.execute(update(instance).where(instance.c.id == 7).values(digest=""))
    assert bench.show(view()) == 0
    assert "waits for the digests" in bench.outcome()
    with bench.database.write() as connection:
        connection.execute(update(instance).values(digest="x"))
    assert bench.show(view()) == 1


def test_rule_that_waits_is_not_forgotten_by_the_next_planner(database: Database) -> None:
    """A node that dies takes with it when to look again; so does one whose turn another node has taken."""
    bench = Bench(database, {"quiet_seconds": 0.2})
    assert bench.show(view(), quiet_s=0.0) == 0
    bench.planner._later.clear()
    time.sleep(0.3)
    assert bench.planner.tick() == 0
    bench.planner._passed = None
    assert bench.planner.tick() == 1


def test_unwanted_study_is_shown_as_such(bench: Bench) -> None:
    assert bench.show(view(Modality="MR")) == 0
    assert bench.outcome().startswith("no rule wants it; chest CT: not wanted")
    assert "Modality" in bench.outcome()


def test_series_no_rule_selects_changes_nothing(bench: Bench) -> None:
    bench.show(view())
    assert bench.show(view(), view(2, Modality="PR", instances=1)) == 0
    assert len(bench.ledger.jobs()) == 1


def test_better_series_supersedes_or_is_ignored_as_the_rule_says(new_database: NewDatabase, tmp_path: Path) -> None:
    for late, expected in (("supersede", ["superseded", "queued"]), ("ignore", ["queued"])):
        bench = Bench(new_database(tmp_path / late), {"late": late, "prefer": ["smallest SliceThickness"]})
        bench.show(view())
        bench.show(view(), view(2, SliceThickness=1.0))
        assert [str(job.state) for job in reversed(bench.ledger.jobs())] == expected


def test_worse_series_changes_nothing(database: Database) -> None:
    bench = Bench(database, {"prefer": ["smallest SliceThickness"]})
    bench.show(view(SliceThickness=1.0))
    assert bench.show(view(SliceThickness=1.0), view(2, SliceThickness=8.0)) == 0


def test_images_that_come_late_make_a_new_job(bench: Bench) -> None:
    bench.show(view())
    assert bench.show(view(instances=31)) == 1
    assert [job.state for job in bench.ledger.jobs()] == [JobState.QUEUED, JobState.SUPERSEDED]


def done(bench: Bench, *, planned_s_ago: float = 0.0) -> int:
    """The job that waits has given a result."""
    (queued,) = bench.ledger.jobs(states=(JobState.QUEUED,))
    claim = bench.ledger.claim(queued.id, "a:1", 60.0)
    assert claim is not None
    bench.ledger.commit(claim, Outcome((), (), {}, {}, {}))
    with bench.database.write() as connection:
        connection.execute(update(job).where(job.c.id == queued.id).values(created_at=db_later(-planned_s_ago)))
    return queued.id


@pytest.mark.parametrize(
    ("rule", "planned_s_ago", "asks"),
    [
        ({"late": "supersede"}, 10**6, False),
        ({"late": "supersede", "useful_for": 600.0}, 300, False),
        ({"late": "supersede", "useful_for": 600.0}, 900, True),
        ({"late": "ask"}, 0, True),
    ],
)
def test_a_result_is_replaced_by_itself_or_a_person_is_asked(
    database: Database, rule: dict[str, object], planned_s_ago: float, *, asks: bool
) -> None:
    bench = Bench(database, rule)
    bench.show(view())
    first = done(bench, planned_s_ago=planned_s_ago)
    assert bench.show(view(instances=31)) == 1
    late = bench.ledger.jobs()[0]
    assert late.supersedes == first
    assert late.state == (JobState.WAITING if asks else JobState.QUEUED)
    assert bool(late.question) == asks
    assert not asks or f"job {first} had 30 images, now there are 31" in bench.outcome()


def test_late_images_change_nothing_where_the_rule_ignores_them(database: Database) -> None:
    bench = Bench(database, {"late": "ignore"})
    bench.show(view())
    done(bench)
    assert bench.show(view(instances=31)) == 0
    assert "what came later is ignored" in bench.outcome()


def test_what_comes_while_no_result_is_there_never_asks(database: Database) -> None:
    bench = Bench(database, {"late": "ask"})
    bench.show(view())
    assert bench.show(view(instances=31)) == 1
    assert [found.state for found in bench.ledger.jobs()] == [JobState.QUEUED, JobState.SUPERSEDED]


def test_a_dropped_job_is_not_asked_about_again_and_a_later_selection_is(database: Database) -> None:
    bench = Bench(database, {"late": "ask"})
    bench.show(view())
    first = done(bench)
    bench.show(view(instances=31))
    succession.drop(bench.database, bench.ledger.jobs()[0].id, "admin")
    assert bench.show(view(instances=31)) == 0
    assert bench.show(view(instances=32)) == 1
    assert bench.ledger.jobs()[0].supersedes == first


def test_new_version_of_a_model_does_not_rerun_old_studies(bench: Bench) -> None:
    bench.show(view())
    settings = bench.planner._settings
    contract = replace(Catalogue.load(settings).get("ct_lung_density"), digest="f" * 64)
    rules = RuleSet.compile(Configuration(settings, Source(None, "")), {"ct_lung_density": contract})
    bench.planner = Planner(settings, bench.database, bench.ledger, rules, lambda _: bench.study)
    assert bench.show(view()) == 0


def test_research_results_are_withheld_from_clinical_peers(new_database: NewDatabase, tmp_path: Path) -> None:
    bench = Bench(new_database(tmp_path / "withheld"), peer={"clinical": True})
    bench.show(view())
    (job,) = bench.ledger.jobs()
    assert job.destinations == ()
    assert "research" in job.withheld["pacs"]
    overridden = Bench(new_database(tmp_path / "sent"), {"research_to_clinical": True}, {"clinical": True})
    overridden.show(view())
    assert overridden.ledger.jobs()[0].destinations == ("pacs",)


def test_held_study_is_left_alone(bench: Bench) -> None:
    with bench.database.write() as connection:
        connection.execute(update(study).values(state=str(Readiness.HELD)))
    assert bench.show(view()) == 0
    assert bench.outcome() == ""


def test_a_job_of_two_series_waits_for_both_and_holds_both(database: Database) -> None:
    bench = Bench(database, {"all": ["SliceThickness < 4"]}, roles=2)
    thin, thick = view(1, SliceThickness=1.0), view(2, SliceThickness=5.0)
    assert bench.show(thin, replace(thick, readiness=Readiness.OPEN)) == 0
    assert "series 1.2.2 is not whole yet" in bench.outcome()
    assert bench.show(thin, thick) == 1
    assert bench.show(thin, thick) == 0
    (job,) = bench.ledger.jobs()
    assert {chosen.role: chosen.series_uid for chosen in job.inputs} == {"ct": "1.2.1", "other": "1.2.2"}


def test_whole_series_are_counted_by_study(bench: Bench) -> None:
    """Searched by their state, all series of the ledger would be gone through for each study."""
    if bench.database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans by the size of the table")
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        asked.append((statement, parameters))

    sqlalchemy_event.listen(bench.database.engine, "before_cursor_execute", note)
    decisions.undecided(bench.database)
    sqlalchemy_event.remove(bench.database.engine, "before_cursor_execute", note)
    statement, parameters = asked[-1]
    with bench.database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert [row.detail for row in plan if "series" in row.detail] == [
        "SEARCH series USING INDEX sqlite_autoindex_series_1 (study_id=?)"
    ]
