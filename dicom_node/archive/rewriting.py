"""Objects of ours, written anew under new UIDs, where patient, study or order turned out to be others.

What was found does not change: pixels, measurements, codes and tracking UIDs stay bit for bit or word for word. What
an object said before stands in its Original Attributes Sequence (PS3.3 C.12.1); that this node wrote it anew, in
Contributing Equipment Sequence (C.12.1); and which report it replaces, in Predecessor Documents Sequence (C.17.2).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.archive import characters
from dicom_node.archive.documents import MANUFACTURER, MODEL_NAME, Reference, coded, hierarchy
from dicom_node.archive.truth import put
from dicom_node.domain.finding import Code
from dicom_node.domain.identifiers import IMPLEMENTATION_VERSION_NAME

_MODIFYING_EQUIPMENT = Code("109103", "DCM", "Modifying Equipment")
_HISTORY = ("OriginalAttributesSequence", "PredecessorDocumentsSequence")  # tell of what was, and stay


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What is to become of the objects of one result."""

    corrected: Mapping[str, str]  # keyword -> what they have to say; see ``truth.CORRECTABLE``
    uids: Mapping[str, str]  # SOP and Series Instance UIDs of the objects -> their new ones
    reason: str
    source: str  # who told it
    station: str  # our AE title
    at: datetime  # local time, as it is written
    predecessors: Sequence[Reference] = ()  # reports that were sent, and are replaced


def rewritten(data: bytes, plan: Rewriting, *, is_report: bool = False) -> tuple[Dataset, bytes]:
    """An object of ours as it is to be, and its Part 10 file in the transfer syntax it had.

    Raises:
        InvalidDicomError, ValueError: ``data`` is no Part 10 file.
    """
    dataset = pydicom.dcmread(BytesIO(data))
    dataset.decode()
    before = Dataset()
    for keyword in plan.corrected:
        before.add(copy.copy(dataset[keyword]) if keyword in dataset else _absent(keyword))
    old = {keyword: str(dataset.get(keyword) or "").strip() for keyword in plan.corrected}
    _put_into_requests(dataset, plan.corrected, old)
    _exchange(dataset, _uids(plan, old))
    for keyword, value in plan.corrected.items():
        put(dataset, keyword, value)
    _tell(dataset, before, plan)
    if is_report and plan.predecessors:
        earlier = list(dataset.get("PredecessorDocumentsSequence") or ())
        dataset.PredecessorDocumentsSequence = earlier + hierarchy(plan.predecessors)
    return dataset, _part_10(dataset)


def _uids(plan: Rewriting, old: Mapping[str, str]) -> dict[str, str]:
    """UIDs that change wherever they stand: of the objects, and of a study that was moved whole."""
    moved = plan.corrected.get("StudyInstanceUID")
    return {**plan.uids, **({old["StudyInstanceUID"]: moved} if moved and old.get("StudyInstanceUID") else {})}


def _exchange(dataset: Dataset, uids: Mapping[str, str]) -> None:
    for element in dataset:
        if element.keyword in _HISTORY:
            continue
        if element.VR == "SQ":
            for item in element.value:
                _exchange(item, uids)
        elif element.VR == "UI" and str(element.value) in uids:
            element.value = UID(uids[str(element.value)])


def _put_into_requests(dataset: Dataset, corrected: Mapping[str, str], old: Mapping[str, str]) -> None:
    """The accession number stands in the items of the requests again; other orders' stay."""
    if "AccessionNumber" not in corrected:
        return
    for keyword in ("ReferencedRequestSequence", "RequestAttributesSequence"):
        for item in dataset.get(keyword) or ():
            if str(item.get("AccessionNumber") or "").strip() == old["AccessionNumber"]:
                put(item, "AccessionNumber", corrected["AccessionNumber"])


def _tell(dataset: Dataset, before: Dataset, plan: Rewriting) -> None:
    stamp = plan.at.strftime("%Y%m%d%H%M%S.%f%z")
    if len(before):
        item = Dataset()
        item.ModifiedAttributesSequence = [before]
        item.AttributeModificationDateTime = stamp
        item.ModifyingSystem = characters.cut(plan.station, 64)
        item.SourceOfPreviousValues = characters.cut(plan.station, 64)
        item.ReasonForTheAttributeModification = "CORRECT"
        dataset.OriginalAttributesSequence = [*(dataset.get("OriginalAttributesSequence") or ()), item]
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [coded(_MODIFYING_EQUIPMENT)]
    equipment.Manufacturer = MANUFACTURER
    equipment.ManufacturerModelName = MODEL_NAME
    equipment.StationName = characters.cut(plan.station, 16)
    equipment.SoftwareVersions = IMPLEMENTATION_VERSION_NAME
    equipment.ContributionDateTime = stamp
    changed = ", ".join(plan.corrected) or "nothing but its UIDs"
    equipment.ContributionDescription = characters.cut(
        f"Written anew with other {changed}, as told by {plan.source}: {plan.reason}", 1024
    )
    dataset.ContributingEquipmentSequence = [*(dataset.get("ContributingEquipmentSequence") or ()), equipment]
    dataset.InstanceCreationDate = plan.at.strftime("%Y%m%d")
    dataset.InstanceCreationTime = plan.at.strftime("%H%M%S.%f")


def _part_10(dataset: Dataset) -> bytes:
    chosen = characters.choose(dataset, characters.declared(dataset))
    if chosen:
        dataset.SpecificCharacterSet = list(chosen) if len(chosen) > 1 else chosen[0]
    else:
        dataset.pop("SpecificCharacterSet", None)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _absent(keyword: str) -> DataElement:
    return DataElement(tag_for_keyword(keyword) or 0, dictionary_VR(keyword), "")
