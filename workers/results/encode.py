"""Findings → the result objects of one job, as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Literal

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Findings
from dicom_node.domain.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.errors import ResultError
from workers.results import characters, provenance, report, segmentation
from workers.results.records import ResultContext, ResultObject
from workers.results.source import Source, local_time, read


def encode(
    findings: Findings, contract: ModelContract, sources: Sequence[Dataset], context: ResultContext
) -> tuple[ResultObject, ...]:
    """One Segmentation and one report of it, in that order; the same arguments give the same bytes.

    ``sources`` are the headers of the images of ``findings.frames``, in that order; they are not changed.

    Raises:
        ResultError: the images are not those of the findings, or the findings cannot be encoded.
        HeaderError: the images lack what a result needs of them.
    """
    given = tuple(str(image.get("SOPInstanceUID", "")) for image in sources)
    if given != findings.frames:
        raise ResultError(
            f"{len(given)} source images were given that are not the {len(findings.frames)} of the findings, in order",
            reason="source-images",
        )
    source = read(sources)
    time = local_time(source, context)
    seg = segmentation.build(findings, contract, source, context, time)
    sr = report.build(findings, contract, source, context, time, seg)
    return _object("seg", seg, source, context), _object("sr", sr, source, context)


def _object(kind: Literal["seg", "sr"], dataset: Dataset, source: Source, context: ResultContext) -> ResultObject:
    character_set = characters.choose(dataset, source.character_set)
    if character_set:
        dataset.SpecificCharacterSet = list(character_set) if len(character_set) > 1 else character_set[0]
    else:
        dataset.pop("SpecificCharacterSet", None)
    return ResultObject(
        kind=kind,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        transfer_syntax_uid=str(ExplicitVRLittleEndian),
        data=_part_10(dataset, context),
    )


def _part_10(dataset: Dataset, context: ResultContext) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    meta.SourceApplicationEntityTitle = provenance.cut(context.station, provenance.SHORT_STRING)
    dataset.file_meta = meta
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
