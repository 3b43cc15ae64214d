"""What result objects hold: read from a Segmentation and a report that were encoded from a small computed series."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from result_cases import CLASSES, CONTEXT, contract, findings_on, series

from dicom_node.domain.finding import Code, ParameterMap
from dicom_node.domain.profile import Companion
from workers.inference import statements
from workers.results import codes
from workers.results.encode import encode

HEADS = ("module", "usage", "attribute", "tag", "VR", "value")
_RICH = {
    "SpecificCharacterSet": "ISO_IR 192",
    "IssuerOfPatientID": "HOSPITAL",
    "StudyDescription": "CT chest",
    "BodyPartExamined": "CHEST",
    "PatientAge": "070Y",
    "PatientName": "Müller^Jörg",
}


@cache
def encoded() -> tuple[Dataset, ...]:
    """A Segmentation, its report, a Parametric Map of what an answer rests on, and what stands beside them."""
    images = series(PhotometricInterpretation="MONOCHROME2", **_RICH)
    made = encode(findings_on(images), contract(), images, CONTEXT, None, tuple(Companion))
    values = np.zeros((len(images), int(images[0].Rows), int(images[0].Columns)), np.float32)
    answer = CLASSES[0]
    shown = ParameterMap(answer.output, answer.name, statements.GRAD_CAM, codes.NO_UNITS, values, "By Grad-CAM.")
    parts: dict[str, Any] = {"layers": (), "segments": (), "evaluations": (), "measurements": ()}
    explained = findings_on(images, **parts, classes=CLASSES[:1], explanation=shown)
    made = (*made[:2], *encode(explained, contract(), images, CONTEXT)[:1], *made[2:])
    return tuple(pydicom.dcmread(BytesIO(each.data)) for each in made)


def attributes(dataset: Dataset) -> Iterator[tuple[str, ...]]:
    """The attributes of a result's own level, by module of its IOD."""
    source = series(**_RICH)[0]
    iod = get_sop_class_iod_map()[dataset.SOPClassUID]
    left = {element.keyword for element in dataset}
    for module in get_iod_module_map()[iod]:
        own = [each["keyword"] for each in get_module_attribute_map()[module["key"]] if not each["path"]]
        found = sorted(left.intersection(own), key=lambda keyword: tag_for_keyword(keyword) or 0)
        left.difference_update(found)
        for keyword in found:
            name = module["key"].replace("-", " ")
            yield name, module["usage"], *_attribute(dataset, keyword, source)
    for keyword in sorted(left, key=lambda keyword: tag_for_keyword(keyword) or 0):
        yield "beside its modules", "", *_attribute(dataset, keyword, source)


def _attribute(dataset: Dataset, keyword: str, source: Dataset) -> tuple[str, str, str, str]:
    element = dataset[keyword]
    value = "made by the node"
    if keyword in source and source[keyword].value == element.value:
        value = "as in the images"
    elif element.VR == "SQ":
        value = f"{'one item' if len(element.value) == 1 else 'items'}"
    elif element.is_empty:
        value = "empty where the images have none"
    elif element.VR == "CS":
        value = "\\".join(element.value) if element.VM > 1 else str(element.value)
    return element.name, str(element.tag), element.VR, value


def content(dataset: Dataset) -> Iterator[str]:
    """The content tree of a report: what is in it, without what recurs."""
    yield "```"
    yield from _items(dataset, 0)
    yield "```"


def _items(item: Dataset, depth: int) -> Iterator[str]:
    name = item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""
    relation = item.get("RelationshipType", "")
    yield "  " * depth + " ".join(part for part in (relation, item.ValueType, f'"{name}"' if name else "") if part)
    seen: list[list[str]] = []
    for each in item.get("ContentSequence", ()):
        lines = list(_items(each, depth + 1))
        if lines not in seen:
            seen.append(lines)
            yield from lines


def codes_used() -> Iterator[tuple[str, str, str]]:
    """Coded concepts that the node uses by itself."""
    found: dict[tuple[str, str], Code] = {}
    for value in (*vars(codes).values(), *vars(statements).values()):
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,):
            if isinstance(each, Code):
                found[each.scheme, each.value] = each
    for (scheme, value), each in sorted(found.items()):
        yield each.meaning, value, scheme
