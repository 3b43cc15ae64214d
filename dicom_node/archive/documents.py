"""Objects that the node writes itself: notes to people (Basic Text SR), rejection notes (Key Object Selection), and
what readers said of results (Comprehensive 3D SR).

They stand in the study of the images they are about, with its patient, study, order and character set. They hold no
finding, and need neither a worker nor its libraries.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from io import BytesIO

import pydicom
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
)

from dicom_node.archive import characters
from dicom_node.archive.characters import cut
from dicom_node.archive.inheritance import Inheritance
from dicom_node.domain.finding import Code
from dicom_node.domain.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, uid_from_uuid

MANUFACTURER = "dicom-node project"
MODEL_NAME = "dicom-node"
DISCLAIMER = "Decision support and research software, not a cleared medical device."

NOTE = Code("34109-9", "LN", "Note")  # no title of a diagnostic report (CID 7000): it reports no finding
COMMENT = Code("121106", "DCM", "Comment")
_DESCRIPTION = Code("113012", "DCM", "Key Object Description")
_OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
_DEVICE = Code("121007", "DCM", "Device")
_PERSON = Code("121006", "DCM", "Person")
_PERSON_NAME = Code("121008", "DCM", "Person Observer Name")
_DEVICE_UID = Code("121012", "DCM", "Device Observer UID")
# The standard has no codes for what a reader makes of a result of AI.
ASSESSMENT = Code("AI_ASSESSMENT", "99DCMNODE", "AI Result Assessment")
VERDICT = Code("VERDICT", "99DCMNODE", "Assessment of the result by the reader")

_DOCUMENTS = "1.2.840.10008.5.1.4.1.1.88."  # SOP classes of SR documents and Key Object Selection; they have no pixels


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """One instance that a document speaks of."""

    study_uid: str
    series_uid: str
    sop_class: str
    sop_uid: str


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: this node."""

    installation: uuid.UUID
    station: str  # our AE title


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object it is."""

    sop_uid: str
    series_uid: str
    series_number: int
    description: str  # of its series
    at: datetime  # local time, as it is written


def local_time(at: datetime, utc_offset: str, site: tzinfo | None) -> datetime:
    """An aware time as an object writes it.

    In the offset that the images declare (e.g. "+0930"), since Timezone Offset From UTC (0008,0201) rules all times of
    an object; in the site's zone (None: the machine's) where they declare none.
    """
    if not utc_offset:
        return at.astimezone(site)
    minutes = int(utc_offset[1:3]) * 60 + int(utc_offset[3:])
    return at.astimezone(timezone(timedelta(minutes=minutes if utc_offset[0] == "+" else -minutes)))


def note(
    inherited: Inheritance, about: Sequence[Reference], author: Author, identity: Identity, lines: Sequence[str]
) -> Dataset:
    """A Basic Text SR (PS3.3 A.35.1) that tells people something about a study; one text item for each line.

    COMPLETE and UNVERIFIED; ``about`` is its evidence.
    """
    document = _document(inherited, author, identity, BasicTextSRStorage, "SR")
    document.CompletionFlag = "COMPLETE"
    document.VerificationFlag = "UNVERIFIED"
    document.PerformedProcedureCodeSequence = []
    if about:
        document.CurrentRequestedProcedureEvidenceSequence = hierarchy(about)
    _contain(document, NOTE, [*_observer(author), *(_text(COMMENT, line) for line in lines)])
    return document


def rejection_note(
    inherited: Inheritance,
    rejected: Sequence[Reference],
    author: Author,
    identity: Identity,
    title: Code,
    reason: str,
) -> Dataset:
    """A Key Object Selection (PS3.3 A.35.4, TID 2010) that rejects instances, as IHE RAD TF-2 4.66 (IOCM) has it.

    ``title`` is one of the four of IOCM; there must be an instance at least.
    """
    document = _document(inherited, author, identity, KeyObjectSelectionDocumentStorage, "KO")
    document.CurrentRequestedProcedureEvidenceSequence = hierarchy(rejected)
    template = Dataset()
    template.MappingResource = "DCMR"
    template.TemplateIdentifier = "2010"
    document.ContentTemplateSequence = [template]
    items = [*_observer(author), _text(_DESCRIPTION, reason)] if reason else _observer(author)
    _contain(document, title, [*items, *map(_pointer, rejected)])
    return document


def assessment(
    inherited: Inheritance,
    assessed: Sequence[Reference],
    author: Author,
    identity: Identity,
    said: tuple[Code, str, str],
) -> Dataset:
    """What a reader said of result objects (``assessed``, at least one): a Comprehensive 3D SR (PS3.3 A.35.13).

    ``said``: verdict, name of the reader, comment. A reader who is known by a name alone has not signed: UNVERIFIED.
    """
    verdict, reader, comment = said
    document = _document(inherited, author, identity, Comprehensive3DSRStorage, "SR")
    document.CompletionFlag = "COMPLETE"
    document.VerificationFlag = "UNVERIFIED"
    document.PerformedProcedureCodeSequence = []
    document.CurrentRequestedProcedureEvidenceSequence = hierarchy(assessed)
    kind = _item("CODE", _OBSERVER_TYPE, "HAS OBS CONTEXT")
    kind.ConceptCodeSequence = [coded(_PERSON)]
    person = _item("PNAME", _PERSON_NAME, "HAS OBS CONTEXT")
    person.PersonName = " ".join(reader.translate({ord(mark): " " for mark in "=^\\"}).split())[:64]
    judged = _item("CODE", VERDICT, "CONTAINS")
    judged.ConceptCodeSequence = [coded(verdict)]
    judged.ContentSequence = [_pointer(found, "INFERRED FROM") for found in assessed]
    words = [_text(COMMENT, comment)] if comment else []
    _contain(document, ASSESSMENT, [kind, person, *_observer(author), judged, *words])
    return document


def hierarchy(references: Iterable[Reference]) -> list[Dataset]:
    """Items of a Hierarchical SOP Instance Reference (PS3.3 C.17.2.1): studies, their series, their instances."""
    studies: dict[str, dict[str, list[Reference]]] = {}
    for found in dict.fromkeys(references):
        studies.setdefault(found.study_uid, {}).setdefault(found.series_uid, []).append(found)
    items = []
    for study_uid, series in studies.items():
        item = Dataset()
        item.StudyInstanceUID = study_uid
        item.ReferencedSeriesSequence = [_series(series_uid, held) for series_uid, held in series.items()]
        items.append(item)
    return items


def part_10(
    dataset: Dataset, character_set: Sequence[str], station: str, transfer_syntax: UID = ExplicitVRLittleEndian
) -> bytes:
    """The data set as a Part 10 file, Explicit VR Little Endian, in its images' character set where that holds it.

    Elements that stand in it encoded are written as they are; they must be so in Explicit VR Little Endian, and ASCII.
    """
    chosen = characters.choose(dataset, character_set)
    if chosen:
        dataset.SpecificCharacterSet = list(chosen) if len(chosen) > 1 else chosen[0]
    else:
        dataset.pop("SpecificCharacterSet", None)
    if any(element.is_raw for element in dataset.values()):
        encodings = convert_encodings(dataset.SpecificCharacterSet) if chosen else default_encoding
        dataset.set_original_encoding(False, True, encodings)  # or pydicom would decode and encode them
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    meta.SourceApplicationEntityTitle = cut(station, 16)
    dataset.file_meta = meta
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _document(inherited: Inheritance, author: Author, identity: Identity, sop_class: str, modality: str) -> Dataset:
    document = Dataset()
    document.update(inherited.patient_and_study)
    document.SOPClassUID = sop_class
    document.SOPInstanceUID = identity.sop_uid
    document.Modality = modality
    document.SeriesInstanceUID = identity.series_uid
    document.SeriesNumber = identity.series_number
    document.SeriesDescription = cut(identity.description, 64)
    document.ReferencedPerformedProcedureStepSequence = []
    document.InstanceNumber = 1
    document.Manufacturer = MANUFACTURER
    document.ManufacturerModelName = MODEL_NAME
    document.DeviceSerialNumber = str(author.installation)
    document.SoftwareVersions = IMPLEMENTATION_VERSION_NAME
    document.StationName = cut(author.station, 16)
    for keyword in ("InstanceCreation", "Series", "Content"):
        setattr(document, f"{keyword}Date", identity.at.strftime("%Y%m%d"))
        setattr(document, f"{keyword}Time", identity.at.strftime("%H%M%S.%f"))
    if inherited.requests:
        document.ReferencedRequestSequence = list(inherited.requests)
    return document


def _contain(document: Dataset, title: Code, items: Sequence[Dataset]) -> None:
    document.ValueType = "CONTAINER"
    document.ConceptNameCodeSequence = [coded(title)]
    document.ContinuityOfContent = "SEPARATE"
    document.ContentSequence = list(items)


def _observer(author: Author) -> list[Dataset]:
    """TID 1002, 1004: a device observed."""
    kind = _item("CODE", _OBSERVER_TYPE, "HAS OBS CONTEXT")
    kind.ConceptCodeSequence = [coded(_DEVICE)]
    device = _item("UIDREF", _DEVICE_UID, "HAS OBS CONTEXT")
    device.UID = uid_from_uuid(author.installation)
    return [kind, device]


def _text(name: Code, text: str) -> Dataset:
    item = _item("TEXT", name, "CONTAINS")
    item.TextValue = text
    return item


def _pointer(found: Reference, relationship: str = "CONTAINS") -> Dataset:
    """A content item that points at an instance."""
    item = Dataset()
    item.RelationshipType = relationship
    item.ValueType = "COMPOSITE" if found.sop_class.startswith(_DOCUMENTS) else "IMAGE"
    item.ReferencedSOPSequence = [_referenced(found)]
    return item


def _item(value_type: str, name: Code, relationship: str) -> Dataset:
    item = Dataset()
    item.RelationshipType = relationship
    item.ValueType = value_type
    item.ConceptNameCodeSequence = [coded(name)]
    return item


def coded(code: Code) -> Dataset:
    """A code as an item of a code sequence."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme
    item.CodeMeaning = code.meaning
    return item


def _series(series_uid: str, held: Sequence[Reference]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series_uid
    item.ReferencedSOPSequence = [_referenced(found) for found in held]
    return item


def _referenced(found: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = found.sop_class
    item.ReferencedSOPInstanceUID = found.sop_uid
    return item
