"""Every type of Segmentation is compared with the findings, to the bit, the label and the step of a share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRLittleEndian
from result_cases import CONTEXT, blobs, contract, findings_on, series

from dicom_node.domain.finding import Findings
from dicom_node.domain.output import Encoding
from dicom_node.errors import ResultError
from workers.results.encode import encode
from workers.results.readback import check
from workers.results.records import ResultObject

IMAGES = series()
SHAPE = (4, 10, 12)


def found(seed: int = 0) -> Findings:
    """Two segments with probabilities of which the label map is the more probable one, from a half on."""
    shares = np.random.default_rng(seed).dirichlet((1.0, 1.0, 1.0), SHAPE).astype(np.float32)
    shares[0] = (1.0, 0.0, 0.0)
    labels = np.where(shares[..., 1:].max(-1) >= 0.5, shares[..., 1:].argmax(-1) + 1, 0).astype(np.uint8)
    probabilities = {1: np.ascontiguousarray(shares[..., 1]), 2: np.ascontiguousarray(shares[..., 2])}
    return findings_on(IMAGES, labels, probabilities=probabilities)


def encoded(findings: Findings, encoding: Encoding) -> tuple[ResultObject, ...]:
    return encode(findings, contract(encoding=encoding), IMAGES, CONTEXT)


@pytest.mark.parametrize("encoding", Encoding)
def test_what_was_written_passes_and_is_of_the_type_asked_for(encoding: Encoding) -> None:
    findings = found()
    objects = encoded(findings, encoding)
    check(objects, findings, IMAGES)
    assert pydicom.dcmread(BytesIO(objects[0].data)).SegmentationType == encoding


def test_another_type_than_the_contract_s_may_be_asked_for() -> None:
    (seg, *_) = encode(found(), contract(encoding=Encoding.FRACTIONAL), IMAGES, CONTEXT, Encoding.BINARY)
    assert pydicom.dcmread(BytesIO(seg.data)).SegmentationType == "BINARY"


def test_shares_need_probabilities_of_every_segment() -> None:
    with pytest.raises(ResultError, match="no probabilities of Right lung, Left lung"):
        encoded(findings_on(IMAGES), Encoding.FRACTIONAL)


def one_byte(dataset: Dataset) -> None:
    pixels = bytearray(dataset.PixelData)
    pixels[100] ^= 1
    dataset.PixelData = bytes(pixels)


def one_label(dataset: Dataset) -> None:
    frames = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)))
    dataset.decompress(generate_instance_uid=False)
    pixels = dataset.pixel_array.copy()
    pixels[1, 2, 3] = 3 - pixels[1, 2, 3]
    dataset.PixelData = pixels.tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    assert len(frames) == len(pixels)


def cut_short(dataset: Dataset) -> None:
    frames = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)))
    dataset.PixelData = encapsulate([frames[0][: len(frames[0]) // 2], *frames[1:]])


def a_frame_less(dataset: Dataset) -> None:
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    dataset.PerFrameFunctionalGroupsSequence = groups[:-1]
    dataset.NumberOfFrames = len(groups) - 1


def other_scale(dataset: Dataset) -> None:
    dataset.MaximumFractionalValue = 100


def occupancy(dataset: Dataset) -> None:
    dataset.SegmentationFractionalType = "OCCUPANCY"


def other_type(dataset: Dataset) -> None:
    dataset.SegmentationType = "SURFACE"


@pytest.mark.parametrize(
    ("encoding", "change", "what"),
    [
        (Encoding.FRACTIONAL, one_byte, "its mask of segment 1 on slice"),
        (Encoding.FRACTIONAL, a_frame_less, "has no frame on slice"),
        (Encoding.FRACTIONAL, other_scale, "PROBABILITY of 100"),
        (Encoding.FRACTIONAL, occupancy, "OCCUPANCY of 255"),
        (Encoding.FRACTIONAL, other_type, "its type is SURFACE"),
        (Encoding.LABELMAP, one_label, "its mask on slice"),
        (Encoding.LABELMAP, cut_short, "cannot be read|its mask on slice"),
        (Encoding.LABELMAP, a_frame_less, "holds 3 frames and counts 2|cannot be read"),
    ],
)
def test_a_changed_one_is_found_out(encoding: Encoding, change: Callable[[Dataset], None], what: str) -> None:
    findings = found()
    seg, *rest = encoded(findings, encoding)
    dataset = pydicom.dcmread(BytesIO(seg.data))
    change(dataset)
    buffer = BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(ResultError, match=what):
        check((replace(seg, data=buffer.getvalue()), *rest), findings, IMAGES)


@pytest.mark.parametrize("encoding", [Encoding.FRACTIONAL, Encoding.LABELMAP])
def test_those_of_another_series_of_numbers_are_found_out(encoding: Encoding) -> None:
    with pytest.raises(ResultError, match="SEG"):
        check(encoded(found(1), encoding), found(2), IMAGES)


@pytest.mark.parametrize("encoding", Encoding)
def test_nothing_found_is_written_and_read(encoding: Encoding) -> None:
    nothing = {number: np.zeros(SHAPE, np.float32) for number in (1, 2)}
    findings = findings_on(IMAGES, np.zeros(SHAPE, np.uint8), probabilities=nothing, measurements=(), evaluations=())
    check(encoded(findings, encoding), findings, IMAGES)


def test_a_share_between_two_steps_passes_whichever_way_it_was_rounded() -> None:
    shares = np.full(SHAPE, np.float32(100.5 / 255))
    findings = findings_on(IMAGES, blobs(SHAPE), probabilities={1: shares, 2: shares})
    check(encoded(findings, Encoding.FRACTIONAL), findings, IMAGES)
