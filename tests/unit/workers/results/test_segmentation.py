import numpy as np
import pytest
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset
from result_cases import CONTEXT, ORIENTATIONS, blobs, contract, findings_on, series

from dicom_node.domain.finding import Findings
from dicom_node.errors import ResultError
from workers.results.segmentation import build
from workers.results.source import local_time, read


def segmentation_of(images: list[Dataset], findings: Findings) -> Dataset:
    source = read(images)
    return build(findings, contract(), source, CONTEXT, local_time(source, CONTEXT))


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
