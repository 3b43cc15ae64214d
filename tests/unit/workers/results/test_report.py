import math
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from result_cases import CONTEXT, EMPHYSEMA, LUNG, MILLILITRE, VOLUME, contract, findings_on, series

from dicom_node.domain.finding import Evaluation, Findings, Measurement, Presence
from workers.results import report, segmentation
from workers.results.records import Predecessor
from workers.results.source import local_time, read


def report_of(images: list[Dataset], findings: Findings) -> Dataset:
    source = read(images)
    time = local_time(source, CONTEXT)
    seg = segmentation.build(findings, contract(), source, CONTEXT, time)
    return report.build(findings, contract(), source, CONTEXT, time, seg)["sr"]


def groups(document: Dataset) -> list[hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations]:
    content = hd.sr.Comprehensive3DSR.from_dataset(document).content
    return list(content.get_volumetric_roi_measurement_groups())


def comments(document: Dataset) -> list[str]:
    return [
        item.TextValue for item in document.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121106"
    ]


def answers(group: hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations) -> list[tuple[str, str]]:
    found = [(e.name.value, e.value.value) for e in group.get_qualitative_evaluations()]
    return [entry for entry in found if entry[0] != "276214006"]  # highdicom counts the finding category among them


def test_one_group_per_segment_and_one_for_both_together() -> None:
    images = series()
    findings = findings_on(images)
    alone, other, both = groups(report_of(images, findings))
    assert [group.tracking_uid for group in (alone, other)] == ["2.25.4711", "2.25.4712"]
    assert both.tracking_identifier == "right_lung + left_lung"
    assert both.finding_type == hd.sr.CodedConcept("39607008", "SCT", "Lung")
    for group, numbers in ((alone, (1,)), (other, (2,)), (both, (1, 2))):
        expected = [found.value for found in findings.measurements if found.segments == numbers]
        assert [m.value for m in group.get_measurements()] == pytest.approx(expected, rel=1e-12)
        assert [m.unit.value for m in group.get_measurements()] == ["ml", "[hnsf'U]"]


def test_a_report_names_the_one_it_replaces() -> None:
    images = series()
    findings, source = findings_on(images), read(images)
    context = replace(CONTEXT, predecessors=(Predecessor("1.2", "2.25.7", str(Comprehensive3DSRStorage), "2.25.8"),))
    time = local_time(source, context)
    seg = segmentation.build(findings, contract(), source, context, time)
    document = report.build(findings, contract(), source, context, time, seg)["sr"]
    (study,) = document.PredecessorDocumentsSequence
    (replaced,) = study.ReferencedSeriesSequence
    (object_,) = replaced.ReferencedSOPSequence
    assert (study.StudyInstanceUID, replaced.SeriesInstanceUID) == ("1.2", "2.25.7")
    assert object_.ReferencedSOPInstanceUID == "2.25.8"
    assert "PredecessorDocumentsSequence" not in report_of(images, findings)


def test_sides_are_told() -> None:
    images = series()
    sites = [group.finding_sites[0].laterality.value for group in groups(report_of(images, findings_on(images)))]
    assert sites == ["24028007", "7771000", "51440002"]


@pytest.mark.parametrize(
    ("presence", "value"),
    [
        (Presence.PRESENT, "52101004"),
        (Presence.ABSENT, "272519000"),
        (Presence.NOT_EVALUATED, "373121007"),
    ],
)
def test_an_evaluation_is_a_code_with_its_reason(presence: Presence, value: str) -> None:
    images = series()
    evaluation = Evaluation("emphysema", EMPHYSEMA, presence, LUNG, (1, 2), "The reason.", "A paper.")
    both = groups(report_of(images, findings_on(images, evaluations=(evaluation,))))[2]
    assert answers(both) == [("87433001", value)]
    (reason,) = [
        item.TextValue
        for item in both[0].ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "121106"
    ]
    assert reason == f"Pulmonary emphysema: {presence}. The reason. Criterion: A paper."


def test_a_segment_without_a_voxel_is_absent_by_code() -> None:
    images = series()
    findings = findings_on(images)
    label_map = findings.layers[0].copy()
    label_map[label_map == 2] = 0
    right, left, both = groups(report_of(images, findings_on(images, label_map)))
    assert (answers(right), answers(left)) == ([], [("121052", "272519000")])
    assert answers(both) == [("87433001", "373121007")]


def test_nothing_found_is_absent_by_code() -> None:
    images = series()
    document = report_of(images, findings_on(images, np.zeros((4, 10, 12), np.uint8), evaluations=()))
    assert [answers(group) for group in groups(document)] == [[("121052", "272519000")]] * 3


def test_a_value_that_is_no_number_is_said_by_code() -> None:
    images = series()
    nothing = Measurement("volume", VOLUME, math.nan, MILLILITRE, (1,))
    right = groups(report_of(images, findings_on(images, measurements=(nothing,))))[0]
    assert right.get_measurements() == []
    assert answers(right) == [("118565006", "114000")]


def test_it_says_what_kind_of_software_this_is() -> None:
    images = series()
    texts = comments(report_of(images, findings_on(images)))
    assert texts[0] == "Decision support and research software, not a cleared medical device."
    assert "status: research" in texts[1]
    assert texts[2:] == ["Limits of the model: Not made for children.", "The phantom is computed."]


def test_flags_and_evidence() -> None:
    images = series()
    document = report_of(images, findings_on(images))
    assert (document.CompletionFlag, document.VerificationFlag, document.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    counts = [len(listed.ReferencedSOPSequence) for listed in study.ReferencedSeriesSequence]
    assert counts == [len(images), 1]
    assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == images[0].SeriesInstanceUID


def test_several_orders_are_several_requests() -> None:
    images = series(AccessionNumber="")
    items = []
    for number in (1, 2):
        item = Dataset()
        item.AccessionNumber, item.RequestedProcedureID = f"A-{number}", f"P-{number}"
        items.append(item)
    images[0].RequestAttributesSequence = items
    document = report_of(images, findings_on(images))
    assert [item.AccessionNumber for item in document.ReferencedRequestSequence] == ["A-1", "A-2"]


def test_no_order_leaves_the_requests_out() -> None:
    images = series(AccessionNumber="")
    assert "ReferencedRequestSequence" not in report_of(images, findings_on(images))
