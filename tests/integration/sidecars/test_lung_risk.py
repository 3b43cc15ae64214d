"""The chain on one study: emphysema and nodules of the images and of a report, with the record, to one SR; planned,
waiting in the ledger, gathered and run by the node's own stages.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fhir_records import MRN, bundle, concept, condition, observation, patient
from image_series import ct_series
from measured_reports import nodule_report
from readers import errors_of_dciodvfy
from studies_of_results import Clinic

from dicom_node.archive import assessments, decisions
from dicom_node.archive.assessments import Verdict
from dicom_node.archive.database import Database
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.finding_rows import rows_of
from dicom_node.archive.index import Index
from dicom_node.archive.migrate import migrate
from dicom_node.archive.results import Outcome
from dicom_node.catalogue import Catalogue, contracts_of_rules
from dicom_node.domain.finding import Code, Detection, Evaluation, Findings, Measurement, Presence
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.job import Job, JobState
from dicom_node.jobs.plan import Planner
from dicom_node.rules.match import RuleSet
from dicom_node.settings import Configuration, load
from dicom_node.sidecars.ehr.importer import Importer
from dicom_node.sidecars.ehr.mapping import load as load_mapping
from dicom_node.sidecars.gather import Gatherer
from workers.run_job import Worker

RULES = "".join(
    f'[[rules]]\nname = "{name}"\nmodel = "{model}"\nall = [\'Modality == "CT"\']\nquiet_seconds = 0\n'
    for name, model in (
        ("risk", "ct_lung_risk"),
        ("density", "ct_lung_density"),
        ("nodules", "ct_nodule_candidates"),
    )
)
TOLD = f'[ehr]\ndefault_issuer = "HOSP"\n[[ehr.identifiers]]\nsystem = "{MRN}"\nissuer = "HOSP"\n'


LUNG = Code("39607008", "SCT", "Lung")
EMPHYSEMA = Code("87433001", "SCT", "Pulmonary emphysema")
LONG_AXIS, MM = Code("103339001", "SCT", "Long Axis"), Code("mm", "UCUM", "mm")
GRID = VoxelGrid.from_matrix((1, 2, 3), np.eye(4))


class Node:
    """The stages that matter here, one pass at a time."""

    def __init__(self, folder: Path) -> None:
        file = folder / "dicom-node.toml"
        file.write_text(f'[node]\ndata_dir = "data"\n{TOLD}{RULES}')
        self.configuration: Configuration = load(file, {})
        self.settings = self.configuration.settings
        self.database = Database("sqlite", self.settings.node.data_dir)
        migrate(self.database)
        self.clinic = Clinic(self.database, self.settings.node.data_dir)
        self.worker = Worker.open(self.settings, "cpu")
        self.restart()

    def restart(self) -> None:
        """Nothing is remembered but what stands in the ledger."""
        contracts = contracts_of_rules(self.configuration, Catalogue.load(self.settings))
        rules = RuleSet.compile(self.configuration, contracts)
        view = Index(self.database, self.settings.node.data_dir).study_view
        self.planner = Planner(self.settings, self.database, self.worker.ledger, rules, view)
        self.gatherer = Gatherer(self.settings.ehr, self.database, contracts)

    def job(self, rule: str) -> Job:
        return self.worker.ledger.jobs(rule=rule)[0]

    def look(self) -> None:
        """The rules look at the study, whose series are whole."""
        with self.database.write() as connection:
            for table in ("series", "study"):
                connection.exec_driver_sql(f"UPDATE {table} SET state = 'ready'")  # noqa: S608
        decisions.look_again(self.database, 1)
        self.planner.tick()

    def tell(self, rule: str, findings: Findings) -> None:
        """A worker ends the job of a rule with these findings."""
        job_id = self.job(rule).id
        self.worker.ledger.commit(self.clinic.claim(job_id), Outcome(rows_of(findings), (), {}, {}, {}))

    def close(self) -> None:
        self.worker.close()
        self.database.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def chest() -> list[pydicom.Dataset]:
    """A CT of a woman of 62."""
    images = ct_series(np.full((24, 8, 9), 1000, dtype=np.int16))
    for image in images:
        image.PatientID, image.PatientName, image.PatientBirthDate, image.PatientSex = "P1", "Doe^Jane", "19640301", "F"
        image.BodyPartExamined, image.StudyDate, image.StudyTime = "CHEST", "20260304", "101500"
        image.SeriesNumber, image.StudyID, image.AccessionNumber = 2, "S1", "A-1"
        image.ReferringPhysicianName = ""
        del image.file_meta
    return images


def answer(presence: Presence) -> Findings:
    """What ct_lung_density found."""
    told = Evaluation("emphysema", EMPHYSEMA, presence, LUNG, (1, 2), "6 % of the lungs lie below -950 HU", "x")
    return Findings(GRID, (), ("1",), (), evaluations=(told,))


def candidates(*diameters: float) -> Findings:
    """What ct_nodule_candidates marked."""
    marked = tuple(
        Detection(
            number=number,
            output="candidates",
            concept=Code("NODULE-CANDIDATE", "99DCMNODE", "Lung nodule candidate"),
            category=LUNG,
            site=LUNG,
            points=((0.0, 0.0, 0.0),),
            score=0.9,
            score_concept=LUNG,
            measurements=(Measurement("long_axis", LONG_AXIS, diameter, MM, ()),),
            tracking_id=f"candidate {number}",
            tracking_uid=f"2.25.77{number}",
        )
        for number, diameter in enumerate(diameters, start=1)
    )
    return Findings(GRID, (), ("1",), (), detections=marked)


def record(node: Node, folder: Path) -> None:
    """A former smoker, with all that both equations ask for."""
    now = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    former = concept("8517006", "http://snomed.info/sct")
    smoking = {"id": "s", "effectiveDateTime": now, "valueQuantity": None, "valueCodeableConcept": former}
    told = [
        observation("72166-2", 0, "", **smoking),
        observation("39156-5", 27, "kg/m2", "b", effectiveDateTime=now),
        condition("13645005", "copd"),
    ]
    file = folder / "record.json"
    file.write_bytes(bundle(patient(), *told))
    store = ObjectStore(node.settings.node.data_dir)
    report = Importer(node.settings.ehr, node.database, store, load_mapping(), "epic").folder(file)
    assert report.refused == []


def report_of(node: Node, job: Job, folder: Path) -> tuple[Path, pydicom.Dataset]:
    (made,) = [each for each in node.worker.ledger.artifacts(job.id) if each.kind == "sr"]
    file = folder / f"risk-{job.id}.dcm"
    shutil.copy(node.settings.node.data_dir / made.path, file)
    return file, pydicom.dcmread(file)


def lines(item: Any) -> list[str]:
    own = [item.TextValue] if item.get("ValueType") == "TEXT" else []
    return own + [line for each in item.get("ContentSequence", ()) for line in lines(each)]


def groups_of(report: Any) -> dict[str, dict[str, float]]:
    """Tracking UID -> the numbers of each measurement group."""
    (measurements,) = (i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010")
    found = {}
    for group in measurements.ContentSequence:
        if group.ValueType == "CONTAINER":
            (uid,) = (str(i.UID) for i in group.ContentSequence if i.ValueType == "UIDREF")
            found[uid] = {
                i.ConceptNameCodeSequence[0].CodeValue: float(i.MeasuredValueSequence[0].NumericValue)
                for i in group.ContentSequence
                if i.ValueType == "NUM"
            }
    return found


def test_the_chain_waits_for_what_it_needs_and_judges_only_what_a_person_confirmed(node: Node, tmp_path: Path) -> None:
    images = chest()
    node.clinic.arrive(images)
    verified = nodule_report(
        images, verified_by="Reader^Rita", nodules=[{"mm": 0.8, "unit": "cm", "type": "solid", "spiculated": True}]
    )
    node.clinic.arrive([verified])
    record(node, tmp_path)

    # The rule of the risk stands first: it waits until the others are planned, then for their jobs.
    node.look()
    node.look()
    risk, density, nodules = (node.job(name) for name in ("risk", "density", "nodules"))
    assert (risk.state, density.state, nodules.state) == (JobState.WAITING, JobState.QUEUED, JobState.QUEUED)
    with node.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE job SET gather_until = 0 WHERE id = {risk.id}")  # noqa: S608
    assert node.gatherer.tick() == 0  # the time for the record is over; what this node computes itself is waited for
    assert (
        node.job("risk").progress
        == f"waits for job {density.id} of ct_lung_density, job {nodules.id} of ct_nodule_candidates"[:64]
    )
    node.tell("density", answer(Presence.PRESENT))
    node.restart()
    assert node.gatherer.tick() == 0
    node.tell("nodules", candidates(9.0, 12.0))
    assert node.gatherer.tick() == 1
    assert node.worker.run(risk.id) == "done"

    file, report = report_of(node, node.job("risk"), tmp_path)
    assert errors_of_dciodvfy(file) == []
    told = lines(report)
    (theirs,) = (
        str(i.UID)
        for group in verified.ContentSequence[-1].ContentSequence
        for i in group.get("ContentSequence", ())
        if i.ValueType == "UIDREF"
    )
    assert theirs in groups_of(report)
    assert any("confirmed by Reader Rita" in line for line in told)
    assert any("Long Axis of Nodule 1: 8 mm" in line and str(verified.SOPInstanceUID) in line for line in told)
    assert any("Pulmonary emphysema" in line and f"job {density.id}" in line for line in told)
    marked = [row for row in node.worker.ledger.findings(nodules.id) if row["kind"] == "detection"]
    assert marked and not {row["tracking_uid"] for row in marked}.intersection(groups_of(report))
    assert any(line.startswith("The patient's record was used") for line in told)


def test_candidates_count_once_a_reader_has_accepted_them(node: Node, tmp_path: Path) -> None:
    node.clinic.arrive(chest())
    node.look()
    node.look()
    node.tell("density", answer(Presence.ABSENT))
    node.tell("nodules", candidates(9.0, 12.0))
    nodules = node.job("nodules")
    assessments.assess(node.database, node.clinic.desk, nodules.id, (Verdict.ACCEPT, "Dr Rita", ""), "Dr Rita")
    with node.database.write() as connection:
        connection.exec_driver_sql("UPDATE job SET gather_until = 0 WHERE gather_until IS NOT NULL")
    assert node.gatherer.tick() == 1
    risk = node.job("risk")
    assert risk.features is not None
    marked = {row["tracking_uid"] for row in node.worker.ledger.findings(nodules.id) if row["kind"] == "detection"}
    assert {each["tracking_uid"] for each in risk.features["lesions"]} == marked
    assert {each["confirmed"] for each in risk.features["lesions"]} == {"Dr Rita"}
    assert node.worker.run(risk.id) == "done"
    _, report = report_of(node, risk, tmp_path)
    # Nobody knows this patient's age: of each nodule the report says so, and gives no number.
    assert marked <= groups_of(report).keys()
    assert all(not numbers for uid, numbers in groups_of(report).items() if uid in marked)


def test_a_report_that_is_verified_later_makes_a_new_result_where_the_rule_says_so(node: Node, tmp_path: Path) -> None:
    images = chest()
    node.clinic.arrive(images)
    contract = node.worker.catalogue.get("ct_lung_risk")
    first = node.clinic.plan(rule="risk", model="ct_lung_risk", model_digest=contract.digest, gather_s=0.0)
    contracts = {"ct_lung_risk": contract}
    gatherer = Gatherer(node.settings.ehr, node.database, contracts, renewing=["risk"])
    gatherer.tick()
    assert node.worker.run(first) == "done"
    assert gatherer.renew() == 0
    node.clinic.arrive([nodule_report(images, verified_by="Reader^Rita")])
    assert Gatherer(node.settings.ehr, node.database, contracts).renew() == 0
    assert gatherer.renew() == 1
    assert gatherer.renew() == 0
    gatherer.tick()
    second = node.job("risk")
    assert (second.supersedes, second.state) == (first, JobState.QUEUED)
    assert node.worker.run(second.id) == "done"
    _, report = report_of(node, second, tmp_path)
    assert any("confirmed by Reader Rita" in line for line in lines(report))
    assert report.PredecessorDocumentsSequence
    assert gatherer.renew() == 0
