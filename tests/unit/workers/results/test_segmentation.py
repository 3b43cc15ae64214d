from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import reference_segmentation
from highdicom.color import CIELabColor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation
from result_cases import ANATOMY, CONTEXT, LUNG, ORIENTATIONS, RIGHT, blobs, contract, findings_on, series

from dicom_node.archive.documents import part_10
from dicom_node.domain.finding import Findings, Segment
from dicom_node.errors import ResultError
from workers.results.planes import Encoding, Fractions, LabelMap, Masks, Planes
from workers.results.segmentation import build
from workers.results.source import local_time, read

SEGMENTS = tuple(
    Segment(n, f"Segment {n}", ANATOMY, LUNG, RIGHT if n % 2 else None, (224, 97, 76), f"s{n}", f"2.25.{4710 + n}")
    for n in range(1, 6)
)


def written(images: Sequence[Dataset], findings: Findings, planes: Planes | None = None) -> bytes:
    source = read(images)
    made = build(findings, contract(), source, CONTEXT, local_time(source, CONTEXT), planes)
    return part_10(made, (), "TEST", made.file_meta.TransferSyntaxUID)


def segmentation_of(images: list[Dataset], findings: Findings) -> Dataset:
    return pydicom.dcmread(BytesIO(written(images, findings)))


def reference(
    images: Sequence[Dataset],
    findings: Findings,
    encoding: Encoding = Encoding.BINARY,
    probabilities: npt.NDArray[np.float32] | None = None,
) -> bytes:
    """The same by highdicom."""
    source = read(images)
    time = local_time(source, CONTEXT)
    made = reference_segmentation.build(findings, contract(), source, CONTEXT, time, encoding, probabilities)
    return part_10(made, (), "TEST", made.file_meta.TransferSyntaxUID)


def turned(rng: np.random.Generator) -> list[float]:
    """Cosines of any plane."""
    return [float(value) for value in np.linalg.qr(rng.normal(size=(3, 3)))[0][:2].ravel()]


def source_of(kind: str, shape: tuple[int, int, int], rng: np.random.Generator) -> list[Dataset]:
    """Images of a series, or what stands for them: frames of one object, or a projection."""
    slices, rows, columns = shape
    images = series(slices, shape=(rows, columns), orientation=turned(rng), step=float(rng.uniform(0.4, 5)))
    for index, image in enumerate(images):
        if kind == "multi-frame":
            image.SOPInstanceUID = images[0].SOPInstanceUID
            image.ReferencedFrameNumber = slices - index
        if kind == "projection":
            image.Modality, image.SOPClassUID = "DX", DigitalXRayImageStorageForPresentation
            image.PatientOrientation = ["L", "F"]
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
                delattr(image, keyword)
    return images


def label_maps(shape: tuple[int, int, int], count: int, rng: np.random.Generator) -> list[npt.NDArray[np.uint8]]:
    """One map of ``count`` segments in blocks; slices and segments may be empty, at times all of them."""
    found = np.zeros(shape, np.uint8)
    for number in range(1, count + 1):
        if rng.random() < 0.75:
            low = [int(rng.integers(0, n)) for n in shape]
            high = [int(rng.integers(at, n)) + 1 for at, n in zip(low, shape, strict=True)]
            found[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = number
    return [found]


CASES = given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["series", "multi-frame", "projection"]),
    shape=st.tuples(
        st.integers(1, 5), st.integers(2, 11), st.integers(4, 13)
    ),  # highdicom's bits go wrong below 8 pixels
    count=st.integers(1, 5),
)
SLOW = settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])


def case(
    seed: int, kind: str, shape: tuple[int, int, int], count: int
) -> tuple[np.random.Generator, list[Dataset], tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    shape = (1, *shape[1:]) if kind == "projection" else shape
    return rng, source_of(kind, shape, rng), shape


def found_on(images: Sequence[Dataset], layers: Sequence[npt.NDArray[np.uint8]], count: int) -> Findings:
    """The findings' grid is of no interest to the Segmentation but for its shape."""
    shape = layers[0].shape
    placed = series(shape[0], shape=shape[1:])
    frames = tuple(str(image.SOPInstanceUID) for image in images)
    changes = {"layers": tuple(layers), "segments": SEGMENTS[:count], "frames": frames}
    return findings_on(placed, layers[0], measurements=(), evaluations=(), **changes)


@SLOW
@CASES
def test_binary_is_what_highdicom_writes(seed: int, kind: str, shape: tuple[int, int, int], count: int) -> None:
    rng, images, shape = case(seed, kind, shape, count)
    findings = found_on(images, label_maps(shape, count, rng), count)
    assert written(images, findings) == reference(images, findings)


@SLOW
@CASES
def test_overlapping_segments_are_what_highdicom_writes(
    seed: int, kind: str, shape: tuple[int, int, int], count: int
) -> None:
    rng, images, shape = case(seed, kind, shape, count)
    layers = [(rng.random(shape) < 0.3).astype(np.uint8) * np.uint8(number) for number in range(1, count + 1)]
    layers[int(rng.integers(0, count))][...] = 0
    findings = found_on(images, layers, count)
    assert written(images, findings) == reference(images, findings)


@SLOW
@CASES
def test_a_label_map_is_what_highdicom_writes_without_a_background_segment(
    seed: int, kind: str, shape: tuple[int, int, int], count: int
) -> None:
    rng, images, shape = case(seed, kind, shape, count)
    findings = found_on(images, label_maps(shape, count, rng), count)
    made = written(images, findings, LabelMap(findings))
    assert made == reference(images, findings, Encoding.LABELMAP)
    read_back = pydicom.dcmread(BytesIO(made))
    assert [item.SegmentNumber for item in read_back.SegmentSequence] == list(range(1, count + 1))


@SLOW
@CASES
def test_probabilities_are_what_highdicom_writes(seed: int, kind: str, shape: tuple[int, int, int], count: int) -> None:
    rng, images, shape = case(seed, kind, shape, count)
    probabilities = rng.random((count, *shape)).astype(np.float32 if seed % 2 else np.float64)
    probabilities[rng.random((count, shape[0])) < 0.3] = 0
    probabilities[probabilities < 0.5 / 255] = 0
    findings = found_on(images, [np.zeros(shape, np.uint8)], count)
    made = written(images, findings, Fractions(list(probabilities)))
    assert made == reference(images, findings, Encoding.FRACTIONAL, probabilities)


def test_what_is_one_label_map_may_come_in_several() -> None:
    images = series()
    label_map = blobs((4, 10, 12))
    whole = findings_on(images, label_map)
    parts = findings_on(images, layers=tuple(np.where(label_map == n, label_map, 0).astype(np.uint8) for n in (1, 2)))
    for planes in (Masks, LabelMap):
        assert written(images, parts, planes(parts)) == written(images, whole, planes(whole))


def test_images_without_slice_thickness_take_the_step_between_them() -> None:
    images = series(step=2.5)
    for image in images:
        del image.SliceThickness
    placed = findings_on(series(step=2.5))
    measures = segmentation_of(images, placed).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (2.5, 2.5)


def test_it_lies_in_the_study_and_frame_of_its_source_in_a_series_of_its_own() -> None:
    images = series(BodyPartExamined="CHEST")
    dataset = segmentation_of(images, findings_on(images))
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "AccessionNumber", "BodyPartExamined"):
        assert dataset[keyword].value == images[0][keyword].value
    assert dataset.SeriesInstanceUID != images[0].SeriesInstanceUID
    assert (dataset.Modality, dataset.SegmentationType) == ("SEG", "BINARY")
    assert dataset.SeriesDescription == "RESEARCH ct_lung_density 0.1.0 segmentation"
    assert "not a cleared medical device" in dataset.ContentDescription


def test_segments_carry_their_codes_colours_and_tracking() -> None:
    images = series()
    findings = findings_on(images)
    dataset = segmentation_of(images, findings)
    for item, segment in zip(dataset.SegmentSequence, findings.segments, strict=True):
        modifier = item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
        assert (item.SegmentLabel, item.TrackingID, item.TrackingUID) == (
            segment.label,
            segment.tracking_id,
            segment.tracking_uid,
        )
        assert segment.type_modifier is not None
        assert modifier.CodeValue == segment.type_modifier.value
        color = CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb()
        assert np.abs(np.subtract(color, segment.color)).max() <= 1
        algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("ct_lung_density", "0.1.0")


def test_each_frame_stands_on_the_image_it_was_made_of() -> None:
    images = series(orientation=ORIENTATIONS["oblique"])
    dataset = segmentation_of(images, findings_on(images))
    positions = {str(image.SOPInstanceUID): list(image.ImagePositionPatient) for image in images}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert list(group.PlanePositionSequence[0].ImagePositionPatient) == positions[str(image)]
    listed = dataset.ReferencedSeriesSequence[0]
    assert listed.SeriesInstanceUID == images[0].SeriesInstanceUID
    assert len(listed.ReferencedInstanceSequence) == len(images)


def test_empty_frames_are_left_out_and_empty_segments_are_described() -> None:
    images = series()
    label_map = blobs((4, 10, 12))
    label_map[label_map == 2] = 0
    dataset = segmentation_of(images, findings_on(images, label_map))
    assert dataset.NumberOfFrames == 3
    assert [item.SegmentNumber for item in dataset.SegmentSequence] == [1, 2]


def test_where_nothing_is_found_every_frame_is_written_empty() -> None:
    images = series()
    dataset = segmentation_of(images, findings_on(images, np.zeros((4, 10, 12), np.uint8)))
    assert dataset.NumberOfFrames == 8
    assert not any(dataset.PixelData)


def test_overlapping_slices_keep_thickness_and_spacing_apart() -> None:
    images = series(step=2.5)
    for image in images:
        image.SliceThickness = 5
    measures = segmentation_of(images, findings_on(images)).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (5, 2.5)
    assert list(measures.PixelSpacing) == [0.75, 0.5]


def test_lossy_images_are_told() -> None:
    images = series(LossyImageCompression="01", LossyImageCompressionRatio=12.5)
    dataset = segmentation_of(images, findings_on(images))
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionRatio) == ("01", 12.5)


def test_odd_pixel_data_are_padded_with_null() -> None:
    images = series(1, shape=(5, 7))
    findings = findings_on(images, np.ones((1, 5, 7), np.uint8))
    assert segmentation_of(images, findings).PixelData == b"\xff\xff\xff\xff\x07\x00"


def test_segments_with_gaps_in_their_numbers_are_refused() -> None:
    images = series()
    findings = findings_on(images)
    label_map = np.zeros_like(findings.layers[0])
    with pytest.raises(ResultError, match=r"numbered \[2\]") as caught:
        segmentation_of(
            images, findings_on(images, label_map, segments=findings.segments[1:], measurements=(), evaluations=())
        )
    assert "model.toml" in caught.value.remedy
