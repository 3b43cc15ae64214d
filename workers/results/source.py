"""What results take over from the images they were made from: patient, study, order, geometry and references."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_node.archive import documents, modules
from dicom_node.archive.inheritance import inherit
from dicom_node.errors import HeaderError
from workers.results.records import ResultContext

_IN_THE_PATIENT = frozenset({"CT", "MR", "PT"})


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The source series as its results need it. The data sets are shared: they are read, never changed."""

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    patient_and_study: Dataset  # attributes of every result, text in Unicode
    series: Dataset  # attributes of results that are images on the source's grid
    equipment: Dataset  # who acquired the images
    requests: tuple[Dataset, ...]  # items of Referenced Request Sequence (0040,A370)
    images: tuple[Dataset, ...]  # one per slice: identification and geometry only; a frame has its number with it
    character_set: tuple[str, ...]  # that of the source; empty: the default one
    utc_offset: str  # Timezone Offset From UTC (0008,0201), e.g. "+0930"; empty: not told


def read(sources: Sequence[Dataset]) -> Source:
    """Take over what results need from the headers of the source images, one per slice in slice order.

    Patient, study and order come from the first image, several orders from all of them.

    Raises:
        HeaderError: an attribute that a result cannot do without is absent, or an identifying one is unreadable.
    """
    if not sources:
        raise HeaderError("there is no source image to make a result of")
    first = sources[0]
    images = tuple(_pick(image, modules.IMAGE) for image in sources)
    _check_images(images)
    inherited = inherit(sources)
    return Source(
        study_instance_uid=str(first.StudyInstanceUID),
        series_instance_uid=str(first.SeriesInstanceUID),
        modality=str(first.get("Modality", "")),
        patient_and_study=inherited.patient_and_study,
        series=inherited.series,
        equipment=inherited.equipment,
        requests=inherited.requests,
        images=images,
        character_set=inherited.character_set,
        utc_offset=inherited.utc_offset,
    )


def objects(images: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """The objects that the images are, or are frames of: the first image of each."""
    return tuple({str(image.SOPInstanceUID): image for image in reversed(images)}.values())[::-1]


def is_placed(image: Dataset) -> bool:
    """Whether an image lies in the patient; a radiograph, for one, does not."""
    return "ImagePositionPatient" in image or image.get("Modality") in _IN_THE_PATIENT


def local_time(source: Source, context: ResultContext) -> datetime:
    """The content time as the result writes it.

    In the offset that the images declare, since Timezone Offset From UTC (0008,0201) rules all times of an object;
    in the site's zone where they declare none. Then the result declares none either: nobody told the zone of the
    study's own times.
    """
    return documents.local_time(context.content_time, source.utc_offset, context.time_zone)


def _pick(dataset: Dataset, keywords: Iterable[str]) -> Dataset:
    """A small data set that shares the elements: copying headers whole costs more than writing the results."""
    picked = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            picked.add(dataset[keyword])
    return picked


def _check_images(images: Sequence[Dataset]) -> None:
    needed = "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns"
    geometry = "FrameOfReferenceUID", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"
    for image in images:
        for keyword in needed + geometry if is_placed(image) else needed:
            if not image.get(keyword):
                raise HeaderError(
                    f"image {image.get('SOPInstanceUID', '(without SOP Instance UID)')} has no {keyword}",
                    remedy="a result must point at its images and lie in their frame of reference",
                )
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if len({str(image.get(keyword)) for image in images}) > 1:
            raise HeaderError(f"the source images differ in {keyword}", reason="mixed-series")
