"""What results take over from the images they were made from: patient, study, order, geometry and references."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_node.errors import HeaderError
from workers.results import characters, modules
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
    declared = characters.declared(first)
    undeclared = characters.undeclared(list(characters.texts(_elements(first)))) if not declared else ()
    take = _Taker(declared, reread=undeclared == characters.UTF_8)
    patient_and_study = take(first, modules.EVERY_RESULT)
    for keyword in modules.TYPE_2:
        if keyword not in patient_and_study:
            patient_and_study.add(_empty(keyword))
    offset = str(patient_and_study.get("TimezoneOffsetFromUTC", "")).strip()
    if not re.fullmatch(r"[+-]\d{4}", offset):
        offset = ""
        patient_and_study.pop("TimezoneOffsetFromUTC", None)
    return Source(
        study_instance_uid=str(first.StudyInstanceUID),
        series_instance_uid=str(first.SeriesInstanceUID),
        modality=str(first.get("Modality", "")),
        patient_and_study=patient_and_study,
        series=take(first, modules.IMAGE_SERIES),
        equipment=take(first, modules.EQUIPMENT),
        requests=_requests(take, sources),
        images=images,
        character_set=declared or undeclared,
        utc_offset=offset,
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
    zone: tzinfo | None = context.time_zone
    if source.utc_offset:
        minutes = int(source.utc_offset[1:3]) * 60 + int(source.utc_offset[3:])
        zone = timezone(timedelta(minutes=minutes if source.utc_offset[0] == "+" else -minutes))
    return context.content_time.astimezone(zone)


class _Taker:
    """Copies attributes of the source images, with text in Unicode."""

    def __init__(self, character_set: Sequence[str], *, reread: bool) -> None:
        self._character_set = character_set
        self._reread = reread

    def __call__(self, dataset: Dataset, keywords: Iterable[str]) -> Dataset:
        taken = Dataset()
        for keyword in keywords:
            if keyword in dataset:
                element = dataset[keyword]
                if keyword in modules.IDENTIFYING:
                    characters.check_identifying(element, self._character_set)
                taken.add(characters.copy(element, self._character_set, reread=self._reread))
        return taken


def _elements(dataset: Dataset) -> list[DataElement]:
    keywords = (*modules.EVERY_RESULT, *modules.IMAGE_SERIES, *modules.EQUIPMENT)
    return [dataset[keyword] for keyword in keywords if keyword in dataset]


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


def _requests(take: _Taker, sources: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """One item per order that the images answer to, each with its own accession number."""
    items = [item for image in sources for item in image.get("RequestAttributesSequence") or ()]
    found: dict[tuple[str, ...], Dataset] = {}
    for item in items:
        key = tuple(str(item.get(keyword, "")) for keyword in ("AccessionNumber", "RequestedProcedureID"))
        if key not in found:
            found[key] = take(item, modules.REQUEST)
    first = sources[0]
    if not found and first.get("AccessionNumber"):
        found[(str(first.AccessionNumber),)] = Dataset()
    for request in found.values():
        if not request.get("AccessionNumber") and len(found) == 1:
            # Only one order, so the study's accession number is its own.
            request.update(take(first, ("AccessionNumber", "IssuerOfAccessionNumberSequence")))
        if not request.get("StudyInstanceUID"):
            request.StudyInstanceUID = str(first.StudyInstanceUID)
        for keyword in modules.REQUEST_TYPE_2:
            if keyword not in request:
                request.add(_empty(keyword))
    return tuple(found.values())


def _empty(keyword: str) -> DataElement:
    tag = tag_for_keyword(keyword)
    vr = dictionary_VR(keyword)
    return DataElement(tag or 0, vr, [] if vr == "SQ" else "", validation_mode=config.IGNORE)
