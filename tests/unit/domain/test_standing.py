"""Where a study stands: trouble first, then what is to come, then what is done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.job import JobState
from dicom_node.domain.parcel import ParcelState
from dicom_node.domain.standing import JobBrief, ParcelBrief, Stand, Standing, standing
from dicom_node.domain.study import Readiness

DONE = JobBrief(JobState.DONE, "lungs")
RUNNING = JobBrief(JobState.RUNNING, "lungs", "infer")
QUEUED = JobBrief(JobState.QUEUED, "lungs")
FAILED = JobBrief(JobState.FAILED, "lungs", message="no geometry")
QUARANTINED = JobBrief(JobState.QUARANTINED, "lungs", message="it hung")
SUPERSEDED = JobBrief(JobState.SUPERSEDED, "lungs")
SENT = ParcelBrief(ParcelState.SENT, "pacs", 1)
PRESENT = ParcelBrief(ParcelState.PRESENT, "pacs", 1)
DUE = ParcelBrief(ParcelState.DUE, "pacs")
TRIED = ParcelBrief(ParcelState.DUE, "pacs", 3, "connection refused")
REFUSED = ParcelBrief(ParcelState.REFUSED, "pacs", 1, "SOP class not supported")
GONE = ParcelBrief(ParcelState.CANCELLED, "pacs", 0, "its images are gone")
WITHHELD = ParcelBrief(ParcelState.HELD, "pacs", 0, "a person holds it")


def _stand(
    jobs: list[JobBrief], parcels: list[ParcelBrief], readiness: Readiness = Readiness.READY, outcome: str = ""
) -> Standing:
    return standing(readiness, {"reason": "why"}, outcome, jobs, parcels)


@pytest.mark.parametrize(
    ("jobs", "parcels", "expected"),
    [
        ([DONE], [SENT], Standing(Stand.DELIVERED, "results delivered to pacs")),
        ([DONE, SUPERSEDED], [SENT, SENT], Standing(Stand.DELIVERED, "results delivered to pacs")),
        ([DONE], [PRESENT], Standing(Stand.DELIVERED, "results delivered to pacs, and found there")),
        ([DONE], [PRESENT, SENT], Standing(Stand.DELIVERED, "results delivered to pacs")),
        ([DONE], [], Standing(Stand.FINISHED, "results are here; no rule sends them anywhere")),
        ([DONE], [DUE, SENT], Standing(Stand.DELIVERING, "results on their way to pacs")),
        (
            [DONE],
            [TRIED],
            Standing(Stand.UNDELIVERED, "not delivered to pacs yet, tried 3 time(s): connection refused"),
        ),
        ([DONE], [REFUSED], Standing(Stand.UNDELIVERED, "pacs refused the results: SOP class not supported")),
        ([DONE], [WITHHELD], Standing(Stand.HELD, "results held back from pacs: a person holds it")),
        ([DONE], [SENT, WITHHELD], Standing(Stand.HELD, "results held back from pacs: a person holds it")),
        ([DONE], [GONE], Standing(Stand.FINISHED, "results are not sent to pacs any more: its images are gone")),
        ([DONE, RUNNING], [SENT], Standing(Stand.RUNNING, "lungs runs: infer")),
        ([QUEUED], [], Standing(Stand.QUEUED, "lungs waits for a worker")),
        ([FAILED, RUNNING], [SENT], Standing(Stand.FAILED, "lungs failed: no geometry")),
        ([QUARANTINED], [], Standing(Stand.FAILED, "lungs quarantined: it hung")),
    ],
)
def test_a_study_that_was_planned(jobs: list[JobBrief], parcels: list[ParcelBrief], expected: Standing) -> None:
    assert _stand(jobs, parcels) == expected


@pytest.mark.parametrize(
    ("readiness", "outcome", "expected"),
    [
        (Readiness.OPEN, "", Standing(Stand.ARRIVING, "why")),
        (Readiness.OPEN, "no rule wants it; r: x", Standing(Stand.UNWANTED, "no rule wants it; r: x")),
        (Readiness.READY, "", Standing(Stand.DECIDING, "whole; the rules have not looked at it yet")),
        (Readiness.READY, "r: waiting: gap", Standing(Stand.WAITING, "r: waiting: gap")),
        (Readiness.HELD, "r: planned job 1", Standing(Stand.HELD, "held for a person: why")),
    ],
)
def test_a_study_without_jobs(readiness: Readiness, outcome: str, expected: Standing) -> None:
    assert _stand([], [], readiness, outcome) == expected


def test_a_job_that_is_no_longer_wanted_counts_for_nothing() -> None:
    assert _stand([SUPERSEDED], [], outcome="no rule wants it").stand == Stand.UNWANTED


@given(
    jobs=st.lists(st.sampled_from([DONE, RUNNING, QUEUED, FAILED, QUARANTINED, SUPERSEDED])),
    parcels=st.lists(st.sampled_from([SENT, DUE, TRIED, REFUSED, WITHHELD])),
)
def test_delivered_is_said_only_when_nothing_is_left_to_do(jobs: list[JobBrief], parcels: list[ParcelBrief]) -> None:
    told = _stand(jobs, parcels)
    if told.stand == Stand.DELIVERED:
        assert {job.state for job in jobs} <= {JobState.DONE, JobState.SUPERSEDED}
        assert ParcelState.DUE not in {parcel.state for parcel in parcels}
        assert ParcelState.REFUSED not in {parcel.state for parcel in parcels}
    assert told.words
