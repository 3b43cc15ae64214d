"""What comes again, comes back or comes late: one result all the same, or what the rule says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installed_node import InstalledNode, settled
from peers import Orthanc, storescu, wait_until
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from readers import results_in, the_result
from small_series import small_series, write, write_one

pytestmark = [pytest.mark.acceptance, pytest.mark.peer]

GRAYSCALE_PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"


@pytest.fixture
def images() -> list[Dataset]:
    """A study that the rule "quick" wants."""
    return small_series(StudyDescription="quick", SliceThickness="3", SeriesNumber=1)


@pytest.fixture
def delivered(node: InstalledNode, pacs: Orthanc, images: list[Dataset], tmp_path: Path) -> dict[str, Any]:
    """The story of that study once its result is in the PACS, where its images are too."""
    folder = write(images, tmp_path / "study")
    assert storescu(pacs.dicom_port, folder, called=pacs.aet).returncode == 0
    node.send(folder)
    told = node.await_story(images[0].StudyInstanceUID, "delivered")
    the_result(pacs, images[0].StudyInstanceUID, tmp_path)
    return told


def later(node: InstalledNode, study_uid: str, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The story once ``seen`` is true of it and nothing is under way any more."""

    def through() -> dict[str, Any] | None:
        told = node.story(study_uid)
        return told if told and seen(told) and settled(told) else None

    return dict(wait_until(through, "the study to be settled again", seconds=60))


def happened(node: InstalledNode, study_uid: str, kind: str) -> bool:
    """Whether the history of a study names such an event."""
    return any(event["kind"] == kind for event in node.cli("studies", "history", study_uid)["events"])


def related(images: list[Dataset], **attributes: Any) -> list[Dataset]:
    """Another series of the same study."""
    same = {
        keyword: images[0][keyword].value
        for keyword in ("StudyInstanceUID", "StudyDescription", "PatientID", "PatientName", "FrameOfReferenceUID")
    }
    return small_series(**(same | attributes))


def presentation_state(images: list[Dataset]) -> Dataset:
    """A minimal Grayscale Softcopy Presentation State (PS3.3 A.33.1) of one image."""
    image = images[0]
    state = Dataset()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate"):
        setattr(state, keyword, image[keyword].value)
    state.SOPClassUID, state.SOPInstanceUID = GRAYSCALE_PRESENTATION_STATE, generate_uid()
    state.SeriesInstanceUID, state.SeriesNumber, state.InstanceNumber = generate_uid(), 9, 1
    state.Modality, state.Manufacturer, state.StudyID, state.StudyTime = "PR", "tests", "1", image.StudyTime
    state.AccessionNumber = state.ReferringPhysicianName = ""
    state.StudyDescription = image.StudyDescription
    state.PresentationCreationDate, state.PresentationCreationTime = "20260304", "120000"
    state.ContentLabel, state.ContentDescription, state.ContentCreatorName = "WINDOW", "", ""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    series = Dataset()
    series.SeriesInstanceUID = image.SeriesInstanceUID
    series.ReferencedImageSequence = Sequence([reference])
    state.ReferencedSeriesSequence = Sequence([series])
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = [1, 1], [image.Columns, image.Rows]
    area.PresentationSizeMode, area.PresentationPixelAspectRatio = "SCALE TO FIT", [1, 1]
    state.DisplayedAreaSelectionSequence = Sequence([area])
    state.PresentationLUTShape = "IDENTITY"
    return state


def test_the_same_study_sent_again_gives_nothing_new(
    node: InstalledNode, pacs: Orthanc, images: list[Dataset], delivered: dict[str, Any], tmp_path: Path
) -> None:
    study_uid = delivered["study_uid"]

    node.send(tmp_path / "study")

    wait_until(lambda: happened(node, study_uid, "duplicates received"), "the images to be known again")
    told = later(node, study_uid, lambda told: True)
    assert [job["id"] for job in told["jobs"]] == [delivered["jobs"][0]["id"]]
    assert told["series"][0]["instances"] == len(images)
    the_result(pacs, study_uid, tmp_path)


def test_a_study_routed_back_with_our_own_results_gives_nothing_new(
    node: InstalledNode, pacs: Orthanc, images: list[Dataset], delivered: dict[str, Any], tmp_path: Path
) -> None:
    study_uid = delivered["study_uid"]

    pacs.store_to("node", study_uid)

    wait_until(lambda: happened(node, study_uid, "own results came back"), "our own results to be known")
    told = later(node, study_uid, lambda told: True)
    assert [job["id"] for job in told["jobs"]] == [delivered["jobs"][0]["id"]]
    assert len(told["parcels"]) == 1
    the_result(pacs, study_uid, tmp_path)
    (listed,) = node.cli("studies", "list", "--find", study_uid)["studies"]
    assert listed["instances"] == len(images)  # our own results are not counted as images that came


def test_a_late_presentation_state_gives_nothing_new(
    node: InstalledNode, pacs: Orthanc, images: list[Dataset], delivered: dict[str, Any], tmp_path: Path
) -> None:
    node.send(write_one(presentation_state(images), tmp_path / "state.dcm"))

    told = later(node, delivered["study_uid"], lambda told: any(s["modality"] == "PR" for s in told["series"]))
    assert [job["id"] for job in told["jobs"]] == [delivered["jobs"][0]["id"]]
    assert told["standing"] == "delivered"
    the_result(pacs, delivered["study_uid"], tmp_path)


@pytest.mark.parametrize(
    "added", [{"SliceThickness": "5"}, {"Modality": "OT", "SliceThickness": "1"}], ids=["worse", "not wanted"]
)
def test_an_added_series_that_is_not_chosen_gives_nothing_new(
    added: dict[str, str],
    node: InstalledNode,
    pacs: Orthanc,
    images: list[Dataset],
    delivered: dict[str, Any],
    tmp_path: Path,
) -> None:
    node.send(write(related(images, **added), tmp_path / "added"))

    told = later(node, delivered["study_uid"], lambda told: len(told["series"]) == 2)
    assert [job["id"] for job in told["jobs"]] == [delivered["jobs"][0]["id"]]
    the_result(pacs, delivered["study_uid"], tmp_path)


def test_an_added_series_that_the_model_prefers_supersedes_the_result(
    node: InstalledNode, pacs: Orthanc, images: list[Dataset], delivered: dict[str, Any], tmp_path: Path
) -> None:
    better = related(images, SliceThickness="1", SeriesNumber=2)

    node.send(write(better, tmp_path / "added"))

    told = later(node, delivered["study_uid"], lambda told: len(told["jobs"]) == 2)
    first, second = told["jobs"]
    assert (first["result"], second["result"]) == ("superseded", "current")
    assert [chosen["series_uid"] for chosen in second["inputs"]] == [better[0].SeriesInstanceUID]
    assert any("SliceThickness" in reason for reason in second["chosen"])
    held = results_in(pacs, delivered["study_uid"])
    for modality in ("SEG", "SR"):
        ours = {
            made["sop_uid"] for job in told["jobs"] for made in job["artifacts"] if made["kind"] == modality.lower()
        }
        assert {instance.sop_instance_uid for instance in held[modality]} == ours
        assert len(ours) == 2


def test_a_rule_may_ignore_what_comes_late(node: InstalledNode, pacs: Orthanc, tmp_path: Path) -> None:
    images = small_series(StudyDescription="quick once", SliceThickness="3")
    study_uid = str(images[0].StudyInstanceUID)
    node.send(write(images, tmp_path / "study"))
    node.await_story(study_uid, "delivered")

    node.send(write(related(images, SliceThickness="1"), tmp_path / "added"))

    told = later(node, study_uid, lambda told: len(told["series"]) == 2 and "ignored" in told["decision"])
    assert len(told["jobs"]) == 1
    the_result(pacs, study_uid, tmp_path)


def test_a_study_that_no_rule_wants_is_shown_as_such_with_the_reason(
    node: InstalledNode, pacs: Orthanc, tmp_path: Path
) -> None:
    images = small_series(StudyDescription="of no interest")
    study_uid = str(images[0].StudyInstanceUID)
    node.send(write(images, tmp_path / "study"))

    told = node.await_story(study_uid, "unwanted")

    assert told["jobs"] == []
    assert told["standing_words"].startswith("no rule wants it")
    assert 'StudyDescription == "quick"' in told["standing_words"]
    assert "no rule wants it" in node.run("studies", "show", study_uid).stdout
    explained = node.cli("rules", "explain", study_uid)["rules"]
    assert len(explained) == 7
    quick = next(rule for rule in explained if rule["rule"] == "quick")
    shown = node.run("rules", "explain", study_uid).stdout
    assert 'StudyDescription == "quick"' in shown
    assert "of no interest" in shown  # the value that decided
    assert not quick["matched"]
    assert results_in(pacs, study_uid) == {"SEG": [], "SR": []}
