"""Measurement reports of others: groups, numbers, answers, and who stands behind them."""

from __future__ import annotations

from pathlib import Path

import pytest
from measured_reports import nodule_report

from dicom_node.archive.measured import read
from dicom_node.errors import InputError


def test_a_report_is_read_as_it_is_coded(tmp_path: Path) -> None:
    file = tmp_path / "sr.dcm"
    nodule_report(verified_by="Reader^Rita", nodules=[{"mm": 8.0}, {"mm": 1.2, "unit": "cm"}]).save_as(file)
    report = read(file)
    assert report.verified_by == "Reader Rita"
    first, second = report.groups
    assert ("27925004", "SCT") in first.findings
    assert first.said.numbers[0][:3] == (("103339001", "SCT"), 8.0, "mm")
    assert second.said.numbers[0][2] == "cm"
    assert any(answer == ("45653009", "SCT") for _, answer, _ in first.said.answers)
    assert first.tracking_uid and first.tracking_uid != second.tracking_uid


@pytest.mark.parametrize("flag, name", [("UNVERIFIED", "Reader^Rita"), ("VERIFIED", "")])
def test_nobody_stands_behind_a_flag_or_a_name_alone(tmp_path: Path, flag: str, name: str) -> None:
    file = tmp_path / "sr.dcm"
    report = nodule_report(verified_by="Reader^Rita")
    report.VerificationFlag = flag
    report.VerifyingObserverSequence[0].VerifyingObserverName = name
    report.save_as(file)
    assert read(file).verified_by == ""


@pytest.mark.data
def test_a_report_of_dcmqi_is_read(test_data: Path) -> None:
    report = read(test_data / "ct_liver_seg_sr_dcmqi" / "sr.dcm")
    assert report.verified_by == ""
    (group,) = report.groups
    assert group.tracking_uid and group.said.numbers


def test_what_is_no_report_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "sr.dcm"
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        read(file)
