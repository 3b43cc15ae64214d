"""What every object of ours takes over from the images it is about: patient, study, order and character set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_node.archive import characters, modules


@dataclass(frozen=True, slots=True, eq=False)
class Inheritance:
    """What an object of ours says as its images do; text in Unicode."""

    patient_and_study: Dataset  # attributes of every object
    series: Dataset  # attributes of results that are images on the source's grid
    equipment: Dataset  # who acquired the images
    requests: tuple[Dataset, ...]  # items of Referenced Request Sequence (0040,A370)
    character_set: tuple[str, ...]  # that of the images; empty: the default one
    utc_offset: str  # Timezone Offset From UTC (0008,0201), e.g. "+0930"; empty: not told


def inherit(sources: Sequence[Dataset]) -> Inheritance:
    """Patient, study and order from the first image, several orders from all of them; there must be one at least.

    Raises:
        HeaderError: an identifying attribute is unreadable.
    """
    first = sources[0]
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
    return Inheritance(
        patient_and_study=patient_and_study,
        series=take(first, modules.IMAGE_SERIES),
        equipment=take(first, modules.EQUIPMENT),
        requests=_requests(take, sources),
        character_set=declared or undeclared,
        utc_offset=offset,
    )


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
