"""The index when it is large: how fast objects enter it, and how long what stages and people ask of it takes.

``python -m benchmarks.index_scale 1000000`` for the size that the goals are set for; its default is a quick look.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.ledgers import OBJECTS_PER_SEGMENT, PEER, STUDY_OBJECTS, FilledLedger, arrivals
from benchmarks.table import Row, median, report
from dicom_node.archive import decisions, events, overview, readiness, story
from dicom_node.archive.accounting import unaccounted
from dicom_node.archive.claims import Claims
from dicom_node.archive.commitments import Commitments
from dicom_node.archive.digests import Digests
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.processes import Processes

INSTANCES = 50_000
GROUP = 64  # objects of one transaction, as the indexer makes them
ROUNDS = 5
ROUND_STUDIES = 10
REPEATS = 15
LEAST_RATE = 0.8  # of the empty index's
PERSON_MS, STAGE_MS, FOLDER_MS = 20.0, 1.0, 5.0
SEGMENTS = 4_000

Questions = Mapping[str, Callable[[], object]]


def main(instances: int) -> int:
    """Fill one ledger, leave another empty, and ask both."""
    with tempfile.TemporaryDirectory(prefix="index-scale-") as name:
        folder = Path(name)
        full, empty = FilledLedger(folder / "full"), FilledLedger(folder / "empty")
        started = time.perf_counter()
        full.fill(instances // STUDY_OBJECTS)
        took = time.perf_counter() - started
        print(f"{instances} instances filled in after {took:.0f} s", flush=True)
        full.open_work()
        empty.open_work()
        rows = [_ingest(full, empty)]
        for questions, goal in ((_of_stages, STAGE_MS), (_of_people, PERSON_MS)):
            rows += _asked(questions(full), questions(empty), goal)
        rows += _sealed(folder / "objects")
        size = (folder / "full" / "ledger.sqlite").stat().st_size / 1e6
    notes = [
        f"{instances} instances in {instances // STUDY_OBJECTS} studies, each with a job, two results and a parcel; "
        f"{size:.0f} MB on SQLite; medians; 60 studies under way in either ledger",
        f"objects enter durably, {GROUP} a transaction, in alternating rounds; headers read before",
    ]
    return report("index_scale", rows, {}, notes=notes)


def _ingest(full: FilledLedger, empty: FilledLedger) -> Row:
    rates: dict[int, list[float]] = {id(full): [], id(empty): []}
    for _ in range(ROUNDS):
        for filled in (full, empty):
            now = datetime.now(UTC)
            objects = [each for n in range(ROUND_STUDIES) for each in arrivals(filled.studies + n, now)]
            filled.studies += ROUND_STUDIES
            started = time.perf_counter()
            for first in range(0, len(objects), GROUP):
                filled.index.add(objects[first : first + GROUP])
            rates[id(filled)].append(len(objects) / (time.perf_counter() - started))
    theirs = median(rates[id(empty)])
    ours = median(rates[id(full)])
    return Row("objects enter", "/s", ours, theirs, "the empty index", goal=LEAST_RATE * theirs, better="more")


def _asked(of_full: Questions, of_empty: Questions, goal: float) -> Iterator[Row]:
    for name, ask in of_full.items():
        yield Row(name, "ms", _milliseconds(ask), _milliseconds(of_empty[name]), "the empty index", goal=goal)


def _of_stages(filled: FilledLedger) -> Questions:
    """What the stages ask in each pass."""
    database, ledger = filled.database, filled.ledger
    before = datetime.now(UTC) - timedelta(days=1)
    processes, commitments = Processes(database), Commitments(database)
    claims, digests = Claims(database), Digests(database)
    newest = events.latest_id(database)
    return {
        "completion: quiet series": lambda: readiness.quiet_series(database, before),
        "completion: quiet studies": lambda: readiness.quiet_studies(database, before),
        "indexer: unsettled series": lambda: filled.index.settle(0),
        "planner: undecided": lambda: decisions.undecided(database),
        "reconciler: running owners": ledger.running_owners,
        "reconciler: expired leases": ledger.expire,
        "reconciler: to publish": lambda: ledger.to_publish(600.0),
        "reconciler: aging": lambda: ledger.age(86_400.0),
        "reconciler: silent processes": processes.forget,
        "digester: due": lambda: digests.due(before, before, (), 200),
        "courier: destinations": claims.destinations,
        "commitment: requested": commitments.requested,
        "commitment: to report": commitments.to_report,
        "worker: next queued": ledger.next_queued,
        "newest event": lambda: events.latest_id(database),
        "events since": lambda: events.since(database, newest),
    }


def _of_people(filled: FilledLedger) -> Questions:
    """What pages, commands and metrics ask."""
    database = filled.database
    middle = max(1, filled.studies // 2)
    view = filled.index.study_view(middle)
    uid, accession = view.study_instance_uid, str(view.attributes["AccessionNumber"])
    paths = [each.path for each in arrivals(middle)]
    return {
        "study list": lambda: overview.studies(database),
        "study list, 50th page": lambda: overview.studies(database, offset=2450),
        "studies of a patient": lambda: overview.studies(database, find=str(view.attributes["PatientID"])),
        "lookup by Study Instance UID": lambda: overview.matching(database, uid),
        "lookup by Accession Number": lambda: overview.matching(database, accession),
        "lookup of what is not there": lambda: overview.matching(database, "nobody"),
        "story of a study": lambda: story.story(database, middle),
        "study as rules see it": lambda: filled.index.study_view(middle),
        "files known to the index, 200": lambda: filled.index.known(paths),
        "due parcels": lambda: filled.parcels.due(PEER),
        "jobs, newest 50": lambda: filled.ledger.jobs(limit=50),
        "counters": lambda: overview.counters(database),
        "unaccounted": lambda: unaccounted(database),
    }


def _sealed(folder: Path) -> Iterator[Row]:
    """A pass of the indexer over segments that are all sealed but the last."""
    store = ObjectStore(folder)
    for number in range(1, SEGMENTS + 1):
        segment = folder / "objects" / "a0" / f"{number:08d}"
        segment.mkdir(parents=True)
        (segment / "000.dcm").touch()
        if number < SEGMENTS:
            (segment / "sealed").touch()
    assert [segment.number for segment in store.unsealed()] == [SEGMENTS]
    name = f"indexer: unsealed of {SEGMENTS} segments ({SEGMENTS * OBJECTS_PER_SEGMENT} objects)"
    yield Row(name, "ms", _milliseconds(lambda: list(store.unsealed())), goal=FOLDER_MS)
    segment = next(iter(store.unsealed()))
    yield Row("indexer: is a segment finished", "ms", _milliseconds(lambda: store.finished(segment)), goal=FOLDER_MS)


def _milliseconds(ask: Callable[[], object]) -> float:
    ask()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        ask()
        times.append(1000 * (time.perf_counter() - started))
    return median(times)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else INSTANCES))
