"""What stages ask again and again, and what people wait for, is answered by indexes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from stories import full_ledger

from dicom_node.archive import (
    decisions,
    events,
    identities,
    overview,
    readiness,
    reissues,
    replacements,
    story,
    withdrawals,
)
from dicom_node.archive.claims import Claims
from dicom_node.archive.commitment_requests import CommitmentRequests
from dicom_node.archive.commitments import Commitments
from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.index import Index
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.schema import metadata
from dicom_node.domain.commitment_answer import Answer

GROWING = metadata.tables.keys() - {"process", "site", "installation"}
NOW = datetime(2026, 3, 1, tzinfo=UTC)
ANSWER = Answer("2.25.1", frozenset(), {})


def desk(folder: Path) -> Desk:
    return Desk(ObjectStore(folder), "DICOMNODE")


ASKED: dict[str, Callable[[Database, Path], object]] = {
    "quiet series": lambda database, _: readiness.quiet_series(database, NOW),
    "quiet studies": lambda database, _: readiness.quiet_studies(database, NOW),
    "unsettled series": lambda database, folder: Index(database, folder).settle(),
    "planes": lambda database, _: readiness.planes(database, 1),
    "undecided": lambda database, _: decisions.undecided(database),
    "selection": lambda database, _: decisions.selection(database, 1),
    "running owners": lambda database, _: Ledger(database).running_owners(),
    "expired": lambda database, _: Ledger(database).expire(["box:1"]),
    "aging": lambda database, _: Ledger(database).age(60.0),
    "to publish": lambda database, _: Ledger(database, at_once={"model": 1}).to_publish(60.0),
    "next queued": lambda database, _: Ledger(database, at_once={"model": 1}).next_queued(),
    "claim": lambda database, _: Ledger(database).claim(1, "box:1", 60.0),
    "jobs of a study": lambda database, _: Ledger(database).jobs(study_id=1),
    "destinations": lambda database, _: Claims(database).destinations(["a"], ["b"]),
    "due parcels": lambda database, _: Parcels(database).due("pacs"),
    "parcels to claim": lambda database, _: Claims(database).to_send("pacs", "box:1", 30.0, 20, stat_only=True),
    "parcels to verify": lambda database, _: Claims(database).to_verify("pacs", "box:1", 30.0, 20),
    "claims renewed": lambda database, _: Claims(database).renew(["box:1"], 30.0),
    "claims released": lambda database, _: Claims(database).release("box:1"),
    "claims abandoned": lambda database, _: Claims(database).abandon(bool),
    "commitment answered": lambda database, _: CommitmentRequests(database).answered(["pacs"], ANSWER),
    "commitment answer": lambda database, _: CommitmentRequests(database).answer(1, NOW),
    "commitment asks": lambda database, _: CommitmentRequests(database).asks(1, NOW),
    "commitment waited for": lambda database, _: CommitmentRequests(database).wait_on(1, NOW),
    "parcels of a study": lambda database, _: Parcels(database).all(study_id=1),
    "commitments requested": lambda database, _: Commitments(database).requested(),
    "commitments to report": lambda database, _: Commitments(database).to_report(),
    "instances of commitments": lambda database, _: Commitments(database).stored(["1.2.826.1.1.0"]),
    "history": lambda database, _: events.history(database, 1),
    "newest events": lambda database, _: events.since(database, 7),
    "story": lambda database, _: story.story(database, 1),
    "known files": lambda database, folder: Index(database, folder).known(["a", "b"]),
    "study list": lambda database, _: overview.studies(database),
    "studies found": lambda database, _: overview.studies(database, find="P1"),
    "lookup": lambda database, _: overview.matching(database, "P1"),
    "features of a patient": lambda database, _: Features(database).of_patient(1, ["egfr"]),
    "records of a patient": lambda database, _: Features(database).records(1),
    "documents of a patient": lambda database, _: Features(database).documents(1),
    "events to follow": lambda database, _: identities.unreached(database),
    "results to settle": lambda database, folder: replacements.settle(database, desk(folder), [], "test"),
    "sets of a study": lambda database, _: reissues.current_sets(database, 1),
    "written anew": lambda database, folder: reissues.stragglers(database, desk(folder), []),
    "taken back": lambda database, _: withdrawals.stragglers(database),
}


@pytest.mark.parametrize("name", ASKED)
def test_no_table_that_grows_is_read_from_end_to_end(name: str, tmp_path: Path) -> None:
    database, _ = full_ledger(tmp_path)
    asked: list[tuple[str, Any]] = []
    event.listen(
        database.engine, "before_cursor_execute", lambda _c, _k, text, values, *_: asked.append((text, values))
    )
    ASKED[name](database, tmp_path)
    statements = [(text, values) for text, values in asked if text.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert statements
    with database.engine.connect() as connection:
        for text, values in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all()
            scans = [step.detail for step in plan if step.detail.split()[0] == "SCAN" and " INDEX " not in step.detail]
            assert [scan for scan in scans if scan.split()[1] in GROWING] == [], text
    database.close()
