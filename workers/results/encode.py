"""Findings → the result objects of one job, as bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy.typing as npt
from pydicom.dataset import Dataset

from dicom_node.archive.documents import part_10
from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Findings
from dicom_node.domain.output import Encoding
from dicom_node.domain.profile import Companion
from dicom_node.errors import ResultError
from workers.results import key_objects, parametric_map, presentation, report, segmentation, summary
from workers.results.key_images import key_images
from workers.results.planes import planes_of
from workers.results.records import Kind, ResultContext, ResultObject
from workers.results.source import Source, local_time, read


def encode(
    findings: Findings,
    contract: ModelContract,
    sources: Sequence[Dataset],
    context: ResultContext,
    encoding: Encoding | None = None,
    companions: Collection[Companion] = (),
    pixels: npt.NDArray[Any] | None = None,
) -> tuple[ResultObject, ...]:
    """One Segmentation where there are segments, then reports and companions; the same arguments give the same bytes.

    ``sources`` are the headers of the images of ``findings.frames``, in that order; they are not changed. Segments are
    written as ``encoding``; without it as the contract asks for, else as BINARY. ``pixels``, axes (slice, row, column)
    or (slice, row, column, RGB), are shown in the summary.

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
    planes = planes_of(findings, encoding or contract.encoding or Encoding.BINARY) if findings.segments else None
    seg = segmentation.build(findings, contract, source, context, time, planes) if planes else None
    made: dict[Kind, Dataset] = {"seg": seg} if seg is not None else {}
    if findings.explanation is not None:
        found = findings.explanation
        made["pm"] = parametric_map.build(found, findings, contract, source, context, time)
    chosen = key_images(findings) if Companion.KEY_IMAGES in companions else ()
    beside: dict[Kind, Dataset] = {}
    if chosen:
        beside["ko"] = key_objects.build(chosen, contract, source, context, time)
    if Companion.PRESENTATION in companions and presentation.can_show(findings, sources[0]):
        beside["pr"] = presentation.build(findings, contract, source, context, time, sources[0])
    if Companion.SUMMARY in companions:
        beside["sc"] = summary.build(findings, contract, source, context, time, sources, pixels)
    made |= report.build(findings, contract, source, context, time, seg, made.get("pm"), beside.get("ko"))
    made |= beside
    return tuple(_object(kind, dataset, source, context) for kind, dataset in made.items())


def _object(kind: Kind, dataset: Dataset, source: Source, context: ResultContext) -> ResultObject:
    syntax = dataset.file_meta.TransferSyntaxUID
    return ResultObject(
        kind=kind,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        transfer_syntax_uid=str(syntax),
        data=part_10(dataset, source.character_set, context.station, syntax),
    )
