"""Images worth looking at → a Key Object Selection (PS3.3 A.35.4) by TID 2010, titled "Of Interest" (CID 7010)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node.domain.contract import ModelContract
from workers.results import codes, provenance, report
from workers.results.codes import coded
from workers.results.key_images import KeyImage
from workers.results.records import ResultContext
from workers.results.source import Source


def build(
    chosen: Sequence[KeyImage], contract: ModelContract, source: Source, context: ResultContext, time: datetime
) -> Dataset:
    """The selection of ``chosen``, one at least; several frames of one object are one item."""
    images: dict[str, Dataset] = {}
    frames: dict[str, list[int]] = {}
    for key in chosen:
        image = source.images[key.slice]
        images.setdefault(str(image.SOPInstanceUID), image)
        if "ReferencedFrameNumber" in image:
            frames.setdefault(str(image.SOPInstanceUID), []).append(int(image.ReferencedFrameNumber))
    content: Any = hd.ko.KeyObjectSelection(
        document_title=coded(codes.OF_INTEREST),
        referenced_objects=list(images.values()),
        observer_device_context=report.observer(context),
        description=_description(chosen, contract),
    )
    for item in content[0].ContentSequence:
        if item.ValueType == "IMAGE":
            reference = item.ReferencedSOPSequence[0]
            if numbers := frames.get(str(reference.ReferencedSOPInstanceUID)):
                reference.ReferencedFrameNumber = numbers if len(numbers) > 1 else numbers[0]
    document: Any = hd.ko.KeyObjectSelectionDocument(
        evidence=report.evidence(list(images.values())),
        content=content,
        series_instance_uid=provenance.uid(context, "ko/series"),
        series_number=provenance.series_number(context, "ko"),
        sop_instance_uid=provenance.uid(context, "ko/instance"),
        instance_number=1,
        requested_procedures=list(source.requests) or None,
        series_description=provenance.series_description(contract, "key images"),
    )
    for item in document.ContentSequence:
        if item.ValueType == "IMAGE":
            del item.ConceptNameCodeSequence  # TID 2010 has none there
    provenance.stamp(document, contract, source, context, time)
    return document  # type: ignore[no-any-return]


def _description(chosen: Sequence[KeyImage], contract: ModelContract) -> str:
    """What is to be seen on each image, by its place in the series from 1."""
    lines = [f"{contract.name} {contract.version}: AI, not verified."]
    lines += [f"Image {key.slice + 1}: {'; '.join(key.shows)}." for key in chosen]
    return provenance.cut("\n".join(lines), provenance.SHORT_TEXT)
