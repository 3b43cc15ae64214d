"""Who made a result, when, with which model, and under which identifiers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node.archive.characters import cut as cut
from dicom_node.archive.documents import DISCLAIMER as DISCLAIMER
from dicom_node.archive.documents import MANUFACTURER as MANUFACTURER
from dicom_node.archive.documents import MODEL_NAME as MODEL_NAME
from dicom_node.domain.contract import ModelContract, Status
from dicom_node.domain.finding import Code
from dicom_node.domain.identifiers import result_uid, uid_from_uuid
from workers.results import codes
from workers.results.records import ResultContext
from workers.results.source import Source

SHORT_DISCLAIMER = "Decision support and research, not a cleared medical device"

LONG_STRING = 64  # characters of LO; PS3.5 table 6.2-1
SHORT_STRING = 16  # characters of SH
SHORT_TEXT = 1024  # characters of ST

# Series numbers of modalities are small, and vendors count derived series in hundreds or thousands.
_FIRST_SERIES_NUMBER = 800_000
_SERIES_NUMBERS = 100_000
_PLACES = ("seg", "sr", "ko", "pr", "sc")


def uid(context: ResultContext, output: str) -> str:
    """The UID of one thing of this result set, e.g. ``"seg/instance"``."""
    return result_uid(context.installation, context.job_key, output, context.issue, context.profile)


def tracking_uid(context: ResultContext, parts: Iterable[int | str]) -> str:
    """Tracking UID of several segments together, or of an output; the same however often and however it is encoded."""
    told = "+".join(map(str, parts))
    return result_uid(context.installation, context.job_key, f"tracking/{told}", 0, "")


def series_number(context: ResultContext, kind: Literal["seg", "pm", "sr", "ko", "pr", "sc"]) -> int:
    """A Series Number that no modality uses; that of the SR follows that of the SEG, or of the map."""
    at = int(uid(context, "series-number").removeprefix("2.25.")) % (_SERIES_NUMBERS // len(_PLACES))
    return _FIRST_SERIES_NUMBER + len(_PLACES) * at + _PLACES.index("seg" if kind == "pm" else kind)


def series_description(contract: ModelContract, what: str) -> str:
    """Names the model, what the series holds, and that it is RESEARCH where the contract says so."""
    mark = "RESEARCH " if contract.status is Status.RESEARCH else ""
    end = f" {contract.version} {what}"
    return mark + cut(contract.name, LONG_STRING - len(mark) - len(end)) + end


def algorithm_family(contract: ModelContract) -> Code:
    """Artificial intelligence where the model holds trained weights; else what it does to an image (CID 7162)."""
    return codes.ARTIFICIAL_INTELLIGENCE if contract.weights else codes.MORPHOLOGICAL_OPERATIONS


def device_uid(context: ResultContext) -> str:
    """The UID of this installation as a device."""
    return uid_from_uuid(context.installation)


def stamp(dataset: Dataset, contract: ModelContract, source: Source, context: ResultContext, time: datetime) -> None:
    """Write what every result says of its patient, study, equipment and time into ``dataset``.

    Whatever the library that built it took from the clock or drew at random is replaced, so that the same findings
    give the same bytes.
    """
    dataset.update(source.patient_and_study)
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.DeviceSerialNumber = str(context.installation)
    dataset.DeviceUID = device_uid(context)
    dataset.SoftwareVersions = [cut(context.software_version, LONG_STRING), f"highdicom {hd.__version__}"]
    dataset.StationName = cut(context.station, SHORT_STRING)
    for keyword in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{keyword}Date", time.strftime("%Y%m%d"))
        setattr(dataset, f"{keyword}Time", time.strftime("%H%M%S.%f"))
    dataset.ContributingEquipmentSequence = contributing_equipment(contract, source, time)


def leave_side_open(dataset: Dataset, source: Source) -> None:
    """Laterality (0020,0060) is type 2C where the images do not tell their body part: then it is not known."""
    if not source.series.get("BodyPartExamined"):
        dataset.Laterality = ""


def contributing_equipment(contract: ModelContract, source: Source, time: datetime) -> list[Dataset]:
    """Items of Contributing Equipment Sequence (0018,A001): what acquired the images, and the model."""
    items = []
    if source.equipment.get("Manufacturer"):  # type 1 in an item
        acquisition = Dataset()
        acquisition.update(source.equipment)
        acquisition.PurposeOfReferenceCodeSequence = [codes.coded(codes.ACQUISITION_EQUIPMENT)]
        acquisition.ContributionDescription = "Acquisition of the source images"
        items.append(acquisition)
    model = Dataset()
    model.PurposeOfReferenceCodeSequence = [codes.coded(codes.PROCESSING_EQUIPMENT)]
    model.Manufacturer = cut(contract.manufacturer, LONG_STRING)
    model.ManufacturerModelName = cut(contract.name, LONG_STRING)
    model.SoftwareVersions = cut(contract.version, LONG_STRING)
    model.DeviceSerialNumber = cut(contract.digest, LONG_STRING)
    model.ContributionDateTime = time.strftime("%Y%m%d%H%M%S.%f%z")
    model.ContributionDescription = cut(
        f"Processing algorithm, status {contract.status}: {contract.title}. {contract.intended_use}", SHORT_TEXT
    )
    items.append(model)
    return items
