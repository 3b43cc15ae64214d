import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from result_cases import CLASSES, CONTEXT, DETECTIONS, ORIENTATIONS, WITHOUT_SEGMENTS, contract, findings_on, series

from dicom_node.archive.files import ObjectStore
from dicom_node.archive.finding_rows import rows_of
from dicom_node.domain.finding import Code, Findings, ParameterMap
from dicom_node.domain.output import Encoding
from dicom_node.domain.parcel import Artifact
from dicom_node.errors import InputError, ResultError
from workers.results import restore, segmentation, source
from workers.results.encode import encode
from workers.results.planes import overlap, planes_of
from workers.results.readback import check
from workers.results.records import ResultObject


def written(findings: Findings, images: Any, encoding: Encoding = Encoding.BINARY) -> tuple[ResultObject, ...]:
    return encode(findings, contract(), images, CONTEXT, encoding)


def again(findings: Findings, images: Any, objects: tuple[ResultObject, ...]) -> Findings:
    """Findings as they are read from what is kept of them."""
    rows = json.loads(json.dumps([dict(row) for row in rows_of(findings)]))
    held: dict[str, Any] = {}
    for made in objects:
        read = pydicom.dcmread(BytesIO(made.data))
        if made.kind == "seg":
            held["probabilities" if read.SegmentationType == "FRACTIONAL" else "masks"] = read
        elif made.kind == "pm":
            held["numbers"] = read
    return restore.findings(rows, findings.notes, restore.Kept(**held), findings.grid, images)


def assert_the_same(findings: Findings, images: Any, kept_as: Encoding) -> None:
    """Encoded once more, what is read again gives every byte that the findings themselves gave."""
    read = again(findings, images, written(findings, images, kept_as))
    for encoding in (Encoding.BINARY, kept_as):
        assert written(read, images, encoding) == written(findings, images, encoding)


@pytest.mark.parametrize("orientation", ["supine-head-first", "oblique"])
@pytest.mark.parametrize("kept_as", [Encoding.BINARY, Encoding.LABELMAP])
def test_findings_that_are_read_again_give_the_same_bytes(orientation: str, kept_as: Encoding) -> None:
    images = series(orientation=ORIENTATIONS[orientation])
    assert_the_same(findings_on(images, classes=CLASSES, detections=DETECTIONS), images, kept_as)


@pytest.mark.parametrize("kind", WITHOUT_SEGMENTS)
def test_so_do_findings_without_a_segmentation(kind: str) -> None:
    images = series()
    findings = findings_on(images, layers=(), segments=(), evaluations=(), **WITHOUT_SEGMENTS[kind])
    assert_the_same(findings, images, Encoding.BINARY)


@settings(max_examples=25, deadline=None)
@given(arrays(np.uint8, (2, 3, 10, 12), elements=st.integers(0, 1)), st.booleans())
def test_segments_that_overlap_and_those_that_do_not_are_read_again_voxel_by_voxel(
    masks: np.ndarray, apart: bool
) -> None:
    """Bits run on from frame to frame: 120 pixels are no whole number of bytes in each."""
    images = series(3)
    if apart:
        masks[1][masks[0] > 0] = 0
    findings = findings_on(images, layers=(masks[0], masks[1] * np.uint8(2)))
    for encoding in (Encoding.BINARY, Encoding.LABELMAP)[: 1 + apart]:
        whole = BytesIO()
        planes = planes_of(findings, encoding)
        made = segmentation.build(findings, contract(), source.read(images), CONTEXT, CONTEXT.content_time, planes)
        pydicom.dcmwrite(whole, made, enforce_file_format=True)
        whole.seek(0)
        kept = restore.Kept(masks=pydicom.dcmread(whole))
        read = restore.findings(rows_of(findings), (), kept, findings.grid, images)
        for number in (1, 2):
            assert np.array_equal(read.mask(number), findings.mask(number))
        assert overlap(read) == overlap(findings)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from((0.0, 0.5, 0.999)))
def test_probabilities_are_read_again_as_a_segmentation_says_them(seed: int, empty: float) -> None:
    """To half a step of 255; encoded once more, and read once more, they are the same to the bit."""
    images, chance = series(), np.random.default_rng(seed)
    shares = chance.random((2, 4, 10, 12), np.float32) * (chance.random((2, 4, 10, 12)) >= empty).astype(np.float32)
    findings = findings_on(images, probabilities={1: shares[0], 2: shares[1]})
    kept = (*written(findings, images), *written(findings, images, Encoding.FRACTIONAL))
    read = again(findings, images, kept)
    assert np.allclose([read.probabilities[1], read.probabilities[2]], shares, atol=0.5001 / 255, rtol=0)
    assert written(read, images, Encoding.FRACTIONAL) == written(findings, images, Encoding.FRACTIONAL)
    check(written(read, images, Encoding.FRACTIONAL), read, images)
    assert written(read, images) == written(findings, images)


@pytest.mark.parametrize("orientation", ["supine-head-first", "oblique"])
def test_a_map_is_read_again_number_by_number(orientation: str) -> None:
    images = series(orientation=ORIENTATIONS[orientation])
    values = np.random.default_rng(7).normal(0, 3, (4, 10, 12)).astype(np.float32)
    unit = Code("1", "UCUM", "no units", "2.1")
    told = ParameterMap("quality", "motion", Code("OCCLUSION", "99DCMNODE", "Loss"), unit, values, "How it was made.")
    findings = findings_on(images, classes=CLASSES, explanation=told)
    read = again(findings, images, written(findings, images))
    assert read.explanation is not None
    assert read.explanation.values.tobytes() == values.tobytes()
    assert [made.kind for made in written(read, images, Encoding.LABELMAP)][:2] == ["seg", "pm"]
    assert_the_same(findings, images, Encoding.LABELMAP)
    with pytest.raises(ResultError, match="stand in no Parametric Map"):
        again(findings, images, written(findings, images)[:1])
    with pytest.raises(ResultError, match="a frame of the Parametric Map lies on"):
        again(
            findings_on(images, explanation=told, layers=(), segments=()),
            series(SOPInstanceUID="1.2.3"),
            written(findings, images),
        )


def test_nothing_found_is_read_again_as_nothing_found() -> None:
    images = series()
    assert_the_same(findings_on(images, np.zeros((4, 10, 12), np.uint8)), images, Encoding.BINARY)
    assert_the_same(findings_on(images, np.zeros((4, 10, 12), np.uint8)), images, Encoding.LABELMAP)


def test_frames_of_a_multi_frame_object_are_told_apart() -> None:
    images = series(SOPInstanceUID="1.2.826.0.1.3680043.8.498.7.1")
    for number, image in enumerate(images, start=1):
        image.ReferencedFrameNumber = number
    assert_the_same(findings_on(images), images, Encoding.BINARY)


def test_what_a_label_map_says_is_checked_when_it_is_written() -> None:
    images = series()
    findings = findings_on(images)
    objects = written(findings, images, Encoding.LABELMAP)
    check(objects, findings, images)
    other = findings_on(images, np.roll(findings.layers[0], 1, axis=2))
    with pytest.raises(ResultError, match="its mask on slice"):
        check(objects, other, images)


def test_a_segmentation_of_other_images_is_refused() -> None:
    images = series()
    findings = findings_on(images)
    objects = written(findings, images)
    with pytest.raises(ResultError, match="not among the images"):
        again(findings, series(SOPInstanceUID="1.2.3"), objects)


def test_a_file_that_is_gone_or_altered_is_refused_by_name(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    (seg, *_) = written(findings_on(series()), series())
    path = store.write_result("ab/seg.dcm", seg.data)
    made = Artifact("seg", "1", "2", "3", "4", "0" * 64, store.relative(path), len(seg.data))
    with pytest.raises(InputError, match="altered"):
        restore.read_kept(store, {"masks": made})
    path.unlink()
    with pytest.raises(InputError) as caught:
        restore.read_kept(store, {"numbers": made})
    assert caught.value.reason == "unreadable-file"
