"""Every kind of object, of every bundled model and every kind of source, before other people's programs.

``dciodvfy`` judges each, DCMTK's ``dsrdump`` and PixelMed's validator the documents, DCMTK's ``dcmj2pnm`` opens the
pictures, and Orthanc takes and shows them. Nothing is allowed for but what ``peers.FALSE_ERROR``, ``UNCHECKED`` and
``LABEL_MAP`` name and explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from peers import Orthanc, run_peer, validate_sr
from PIL import Image
from pydicom.dataset import Dataset
from readers import errors_of_dciodvfy
from result_cases import CLASSES, CONTEXT, DETECTIONS, ORIENTATIONS, WITHOUT_SEGMENTS, contract, findings_on, series

from dicom_node.catalogue import Catalogue
from dicom_node.dimse.send import Sender
from dicom_node.domain.comparison import Change, Comparison, Prior, Verdict
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import (
    Classification,
    Code,
    Detection,
    Evaluation,
    Findings,
    Measurement,
    ParameterMap,
    Presence,
)
from dicom_node.domain.output import ClassOutput, Encoding, RegionOutput, ValueOutput
from dicom_node.domain.profile import Companion
from dicom_node.domain.sending import OutgoingObject
from dicom_node.settings import PeerSettings, Settings
from workers.findings import _segments
from workers.inference.measurements import measure
from workers.results.encode import encode
from workers.results.readback import check
from workers.results.records import REPORTS

pytestmark = pytest.mark.peer

# What DCMTK 3.6.7 says of every document that names its template, TID 2010 here: it knows the rules of none.
UNCHECKED = "W: Check for template constraints not yet supported\n"
# dciodvfy of 2026 takes label maps (1.2.840.10008.5.1.4.1.1.66.7) for no segmentations, in references to them alone.
LABEL_MAP = (
    "ReferencedSegmentNumber(0062,000b)> - Shall not be present for Referenced SOP Class that is not segmentation"
)
GREY = {"PhotometricInterpretation": "MONOCHROME2", "WindowCenter": 0, "WindowWidth": 400}
NO_UNITS = Code("1", "UCUM", "no units")
BUNDLED = {each.name: each for each in Catalogue.load(Settings()).contracts}


def judged(images: Sequence[Dataset], findings: Findings, folder: Path, **how: Any) -> dict[str, Path]:
    """Encode with all companions, read back, write, and have each object judged; files by kind."""
    model, encoding = how.get("model", contract()), how.get("encoding")
    pixels = np.random.default_rng(0).normal(0, 100, findings.grid.shape).astype(np.float32)
    objects = encode(findings, model, images, CONTEXT, encoding, tuple(Companion), pixels)
    check(objects, findings, images, tuple(Companion))
    files = {}
    for made in objects:
        file = folder / f"{made.kind}.dcm"
        file.write_bytes(made.data)
        files[str(made.kind)] = file
        assert not [said for said in errors_of_dciodvfy(file) if LABEL_MAP not in said], made.kind
        # DCMTK 3.6.7 knows no label maps, and reads no report that refers to one.
        if made.kind == "ko" or (made.kind in REPORTS and encoding is not Encoding.LABELMAP):
            dumped = run_peer("dsrdump", file)
            said = dumped.stderr.replace(UNCHECKED, "")
            assert (dumped.returncode, said) == (0, ""), made.kind
        if made.kind in ("pr", "seg", "pm"):
            assert run_peer("dcmdump", "-q", file).returncode == 0
    return files


def agreed(files: dict[str, Path]) -> None:
    """PixelMed finds no error in the documents."""
    for kind in (*REPORTS, "ko"):
        if kind in files:
            said = validate_sr(files[kind])
            assert not [line for line in said.splitlines() if line.startswith("Error")], (kind, said)


def of_model(model: ModelContract, images: Sequence[Dataset]) -> Findings:
    """Findings as a model's contract has them: each segment, measurement, class, value and detection once at least."""
    usual = findings_on(images)
    label_map = np.zeros(usual.grid.shape, np.uint8)
    for spec in model.segments:
        label_map[1:3, 2 : 2 + spec.number, 3:8][label_map[1:3, 2 : 2 + spec.number, 3:8] == 0] = spec.number
    density = np.random.default_rng(0).normal(-800, 100, usual.grid.shape).astype(np.float32)
    measurements = list(measure(model, density, usual.grid, (label_map,))) if model.segments else []
    classes: list[Classification] = []
    detections: list[Detection] = []
    for output in model.outputs:
        if isinstance(output, ClassOutput):
            present = (Presence.PRESENT, *[Presence.ABSENT] * len(output.classes))
            classes += [
                Classification(spec.name, output.name, spec.concept, where, 0.25, output.site, "Probability 25 %")
                for spec, where in zip(output.classes, present, strict=False)
            ]
        elif isinstance(output, ValueOutput):
            measurements += [Measurement(v.name, v.concept, 1.5, v.unit, ()) for v in output.values]
        elif isinstance(output, RegionOutput):
            numbers = tuple(Measurement(m.name, m.concept, 7.5, m.unit, ()) for m in output.measurements)
            detections += [
                replace(each, output=output.name, concept=output.classes[0].concept, measurements=numbers)
                for each in DETECTIONS
            ]
    return replace(
        usual,
        layers=(label_map,) if model.segments else (),
        segments=_segments(model, lambda name: f"2.25.{abs(hash(name)) % 10**9 + 1}"),
        measurements=tuple(measurements),
        evaluations=tuple(
            Evaluation(e.name, e.concept, Presence.ABSENT, e.site, model.segment_numbers(e.of), "Below.", e.source)
            for e in model.evaluations
        ),
        classes=tuple(classes),
        detections=tuple(detections),
    )


@pytest.mark.parametrize("name", [name for name, each in BUNDLED.items() if each.task != "fusion"])
def test_what_bundled_models_find(name: str, tmp_path: Path) -> None:
    model = BUNDLED[name]
    images = series(6, Modality=model.inputs[0].modality, BodyPartExamined="CHEST", **GREY)
    findings = of_model(model, images)
    encodings = (Encoding.BINARY, Encoding.LABELMAP) if findings.segments else (None,)
    for encoding in encodings:
        (folder := tmp_path / str(encoding)).mkdir()
        files = judged(images, findings, folder, model=model, encoding=encoding)
        assert {"sr", "sc"} <= set(files)
    agreed(files)


SOURCES: dict[str, dict[str, Any]] = {
    "oblique": {"orientation": ORIENTATIONS["oblique"]},
    "single slice": {"slices": 1},
    "multi-frame": {},
    "without a body part": {"BodyPartExamined": ""},
}


@pytest.mark.parametrize("which", SOURCES)
def test_what_is_found_on_other_sources(which: str, tmp_path: Path) -> None:
    images = series(**{"slices": 6, **GREY, **SOURCES[which]})
    if which == "multi-frame":
        for number, image in enumerate(images, start=1):
            image.SOPInstanceUID, image.ReferencedFrameNumber = "1.2.826.0.1.3680043.8.498.77", number
            image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    found: dict[str, Any] = {} if which == "single slice" else {"detections": DETECTIONS}
    values = np.random.default_rng(0).normal(0, 1, (len(images), 10, 12)).astype(np.float32)
    quantity = Code("OCCLUSION", "99DCMNODE", "Loss of the answer by occlusion")
    found["explanation"] = ParameterMap("quality", "motion", quantity, NO_UNITS, values, "By occlusion.")
    files = judged(images, findings_on(images, classes=CLASSES, **found), tmp_path)
    assert {"seg", "pm", "sr", "ko", "pr", "sc"} <= set(files)


def test_a_radiograph_with_a_class(tmp_path: Path) -> None:
    placed = series(1, **GREY)
    without = {"layers": (), "segments": (), "evaluations": (), **WITHOUT_SEGMENTS["classes"]}
    findings = findings_on(placed, **without)
    (image,) = placed
    for keyword in ("FrameOfReferenceUID", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        delattr(image, keyword)
    image.Modality, image.SOPClassUID = "DX", "1.2.840.10008.5.1.4.1.1.1.1"
    files = judged(placed, findings, tmp_path)
    assert set(files) == {"sr", "ko", "sc"}


def test_a_comparison_with_an_earlier_result(tmp_path: Path) -> None:
    images = series(6, BodyPartExamined="CHEST", **GREY)
    usual = findings_on(images)
    prior = Prior(1, "1.2.3", "20250102", "1.2.4", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.5", accepted=True)
    verdicts = (Verdict.INCREASED, Verdict.DECREASED, Verdict.UNCHANGED, Verdict.NOT_TOLD, *[Verdict.INCREASED] * 2)
    changes = tuple(
        Change(m.name, m.concept, m.unit, m.segments, "", m.value - 2, m.value, 2.0, 1.5, 1.0, "A paper.", verdict)
        for m, verdict in zip(usual.measurements, verdicts, strict=True)
    )
    files = judged(images, replace(usual, comparison=Comparison(prior, "", "", changes)), tmp_path)
    agreed(files)


def test_the_summary_can_be_opened_and_read(tmp_path: Path, orthanc: Orthanc) -> None:
    images = series(6, BodyPartExamined="CHEST", **GREY)
    files = judged(images, findings_on(images), tmp_path)
    drawn = run_peer("dcmj2pnm", "--write-png", files["sc"], tmp_path / "sc.png")
    assert drawn.returncode == 0, drawn.stderr
    with Image.open(tmp_path / "sc.png") as opened:
        page = np.asarray(opened.convert("RGB"))
    assert page.shape == (960, 1280, 3)
    assert tuple(page[5, 1200]) == (255, 176, 0), "the band above the page"
    dark = (page[:84].astype(int).sum(axis=2) < 150).mean()
    assert 0.02 < dark < 0.3, "letters on the band"

    sent = [
        OutgoingObject(file, str(made.SOPClassUID), str(made.SOPInstanceUID), str(made.file_meta.TransferSyntaxUID))
        for file in files.values()
        for made in [pydicom.dcmread(file, stop_before_pixels=True)]
    ]
    peer = PeerSettings(name="pacs", ae_title=orthanc.aet, host="127.0.0.1", port=orthanc.dicom_port)
    assert all(outcome.ok for outcome in Sender().send(peer, "DICOMNODE", sent))
    (shown,) = (each for each in orthanc.instances() if each.modality == "OT")
    preview = orthanc.request("GET", f"/instances/{shown.id}/preview")
    with Image.open(BytesIO(preview)) as opened:
        assert np.array_equal(np.asarray(opened.convert("RGB")), page)
