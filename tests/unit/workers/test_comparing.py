"""The patient's last result by the same model: found in the ledger, compared, written, read again."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from encoding_workers import DIGEST, images
from pydicom.dataset import Dataset
from result_cases import CONTEXT, DETECTIONS, contract, findings_on
from sqlalchemy import select, update
from studies_of_results import Clinic

from dicom_node.archive import priors
from dicom_node.archive.assessments import Verdict as Assessment
from dicom_node.archive.assessments import assess
from dicom_node.archive.finding_rows import records_of, rows_of
from dicom_node.archive.schema import result_set
from dicom_node.domain.comparison import Comparison, Repeatability, Verdict
from dicom_node.domain.contract import MeasurementSpec
from dicom_node.domain.finding import Findings
from dicom_node.errors import ResultError
from workers import comparing
from workers.inference.volume import Volume
from workers.results import codes
from workers.results.encode import encode
from workers.results.readback import check

STATED = contract(
    measurements=(MeasurementSpec("volume", "volume", (("right_lung",),), (), Repeatability(None, 5.0, "A paper.")),)
)


def volume_of(headers: list[Dataset], findings: Findings) -> Volume:
    array = np.where(findings.layers[0] > 0, 100, -100).astype(np.int16)
    return Volume(array, findings.grid, findings.frames, tuple(headers), "HU")


def study(day: str, number: int, **attributes: Any) -> list[Dataset]:
    """The usual patient, on another day, in another study."""
    made = images(StudyDate=day, StudyInstanceUID=f"1.2.826.0.1.3680043.8.498.8.{number}", **attributes)
    for image in made:
        image.SOPInstanceUID = f"{image.SOPInstanceUID}.{number}"
        image.SeriesInstanceUID = f"{image.SeriesInstanceUID}.{number}"
    return made


def done(clinic: Clinic, headers: list[Dataset], **changes: Any) -> tuple[int, Findings]:
    """A job that has ended with these findings; what a worker keeps of its acquisition stands with its result."""
    taken = clinic.arrive(headers)
    findings = findings_on(headers, **changes)
    job_id = clinic.plan(model_digest=DIGEST, study_uid=str(headers[0].StudyInstanceUID))
    clinic.commit(job_id, taken, **changes)
    kept = comparing.kept(volume_of(headers, findings), findings)
    with clinic.database.write() as connection:
        chosen = result_set.c.job_id == job_id
        manifest = connection.execute(select(result_set.c.manifest).where(chosen)).scalar_one()
        connection.execute(update(result_set).where(chosen).values(manifest={**manifest, **kept}))
    return job_id, findings


def later(clinic: Clinic, headers: list[Dataset], model: Any = STATED, **changes: Any) -> Findings:
    """The findings of a job on these images, compared with what was before."""
    clinic.arrive(headers)
    findings = findings_on(headers, **changes)
    job = clinic.ledger.job(clinic.plan(model_digest=DIGEST, study_uid=str(headers[0].StudyInstanceUID)))
    assert job is not None
    return comparing.compared(clinic.database, job, model, volume_of(headers, findings), findings, "")


def report_of(findings: Findings, headers: list[Dataset]) -> Dataset:
    objects = encode(findings, contract(), headers, CONTEXT)
    check(objects, findings, headers)
    return pydicom.dcmread(BytesIO(next(each.data for each in objects if each.kind == "sr")))


def test_the_last_result_is_compared_and_told_in_the_report(clinic: Clinic) -> None:
    done(clinic, study("20240101", 1))
    job_id, earlier = done(clinic, study("20250101", 2))
    assess(clinic.database, clinic.desk, job_id, (Assessment.ACCEPT, "Dr. A", ""), "test")
    headers = study("20260101", 3)
    grown = tuple(replace(m, value=m.value * 1.2) for m in earlier.measurements)
    findings = later(clinic, headers, measurements=grown)

    against = findings.comparison
    assert against is not None
    assert (against.prior.job_id, against.prior.study_date, against.prior.accepted) == (job_id, "20250101", True)
    assert not against.obstacle
    told = {(each.name, each.segments): each for each in against.changes}
    assert len(told) == 6
    right = told["volume", (1,)]
    assert right.verdict is Verdict.INCREASED
    assert right.percent == pytest.approx(20)
    assert told["mean_density", (1,)].verdict is Verdict.NOT_TOLD

    assert records_of(rows_of(findings), Comparison) == (against,), "the ledger keeps it as it is"
    report = report_of(findings, headers)
    named = report.ContentSequence[-1]
    assert (named.ValueType, named.ConceptNameCodeSequence[0].CodeValue) == ("COMPOSITE", codes.PRIOR_REPORT.value)
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == against.prior.sop_uid
    (other,) = report.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == "1.2.826.0.1.3680043.8.498.8.2"


def test_a_report_that_says_another_change_is_found(clinic: Clinic) -> None:
    done(clinic, study("20250101", 2))
    headers = study("20260101", 3)
    findings = later(clinic, headers)
    assert findings.comparison is not None
    objects = encode(findings, contract(), headers, CONTEXT)
    others = tuple(replace(each, change=each.change + 1) for each in findings.comparison.changes)
    with pytest.raises(ResultError, match="measurement"):
        check(objects, replace(findings, comparison=replace(findings.comparison, changes=others)), headers)
    with pytest.raises(ResultError, match="prior report"):
        check(objects, replace(findings, comparison=None), headers)


def test_what_does_not_count_is_not_compared_with(clinic: Clinic) -> None:
    rejected, _ = done(clinic, study("20250101", 1))
    done(clinic, study("20250201", 2, PatientID="SYN-2"))
    done(clinic, study("20270101", 3))
    assess(clinic.database, clinic.desk, rejected, (Assessment.REJECT, "Dr. A", "the outline leaks"), "test")
    assert later(clinic, study("20260101", 4)).comparison is None


def test_another_model_is_not_compared_with(clinic: Clinic) -> None:
    done(clinic, study("20250101", 1))
    headers = study("20260101", 2)
    clinic.arrive(headers)
    job = clinic.ledger.job(clinic.plan(model_digest="another", study_uid=str(headers[0].StudyInstanceUID)))
    assert job is not None
    assert priors.newest(clinic.database, job) is None


def test_another_protocol_is_named_and_nothing_is_compared(clinic: Clinic) -> None:
    done(clinic, study("20250101", 1, ConvolutionKernel="B70f"))
    headers = study("20260101", 2, ConvolutionKernel="B30f")
    findings = later(clinic, headers)
    assert findings.comparison is not None
    assert not findings.comparison.changes
    texts = [item.get("TextValue", "") for item in report_of(findings, headers).ContentSequence]
    assert (
        "Not compared with the result of 2025-01-01 (not reviewed): ConvolutionKernel is B30f, and was B70f." in texts
    )


@pytest.mark.parametrize("same_frame", [True, False])
def test_detections_are_matched_as_proposals_with_tracking_uids_of_their_own(clinic: Clinic, same_frame: bool) -> None:
    done(clinic, study("20250101", 1), detections=DETECTIONS)
    moved = np.array([0.0, 0.0, 0.0] if same_frame else [30.0, -12.0, 45.0])
    headers = study("20260101", 2)
    if not same_frame:
        for image in headers:
            image.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.11"
            image.ImagePositionPatient = [float(v) for v in np.array(image.ImagePositionPatient, float) + moved]
    found = tuple(
        replace(
            each,
            tracking_id=f"{each.tracking_id} again",
            tracking_uid=f"{each.tracking_uid}9",
            points=tuple(tuple(float(v) for v in np.array(point) + moved + (0.2, 0, 0)) for point in each.points),
            measurements=tuple(replace(m, value=m.value + 2) for m in each.measurements),
        )
        for each in DETECTIONS
    )
    far = replace(found[0], points=((500.0, 0.0, 0.0),), number=3, tracking_uid="2.25.5")
    findings = later(clinic, headers, detections=(*found, far))
    against = findings.comparison
    assert against is not None
    assert {each.tracking_uid: each.earlier_uid for each in against.matches} == {
        "2.25.47219": "2.25.4721",
        "2.25.47229": "2.25.4722",
    }
    assert (against.new, against.gone) == (("2.25.5",), ())
    assert all(each.distance_mm == pytest.approx(0.2) for each in against.matches)
    assert against.aligned_by == ("their frame of reference" if same_frame else "the centres of their segments")
    (axis,) = (each for each in against.changes if each.tracking_uid)
    assert (axis.name, axis.change, axis.tracking_uid) == ("long_axis", 2, "2.25.47219")


def test_what_is_kept_of_an_acquisition_can_be_kept_as_json(clinic: Clinic) -> None:
    headers = study("20260101", 1, KVP=120, ContrastBolusAgent="Iomeron")
    findings = findings_on(headers)
    kept = comparing.acquisition(volume_of(headers, findings), findings)
    assert kept["protocol"] == {
        "Modality": "CT",
        "SliceThickness": 2.5,
        "SpacingBetweenSlices": 2.5,
        "PixelSpacing": [0.75, 0.5],
        "KVP": 120.0,
        "ContrastBolusAgent": "given",
    }
    right = findings.mask(1)
    index = np.argwhere(right).mean(axis=0, keepdims=True)
    assert kept["centres"]["Right lung"] == pytest.approx(findings.grid.index_to_lps(index)[0].tolist())
