"""Does a Parametric Map hold the numbers that were found, on the images they were found on?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.domain.finding import Findings, ParameterMap
from workers.results.readback_masks import positions, wrong


def check(dataset: Dataset, findings: Findings, found: ParameterMap) -> None:
    """Every frame, byte for byte; what the numbers are; and the references to the images.

    Raises:
        ResultError: names what differs.
    """
    shape = found.values.shape
    if (int(dataset.NumberOfFrames), dataset.Rows, dataset.Columns) != shape:
        raise wrong("PM", f"it has {dataset.NumberOfFrames} frames of {dataset.Rows} x {dataset.Columns}, not {shape}")
    data = dataset.get("FloatPixelData", b"")
    if len(data) != 4 * found.values.size:
        raise wrong("PM", f"its pixel data are {len(data)} bytes, not {4 * found.values.size}")
    written = np.frombuffer(data, "<f4").reshape(shape)
    indices = list(positions(dataset, findings, "PM"))
    if sorted(indices) != list(range(shape[0])):
        raise wrong("PM", f"its frames lie on the slices {sorted(indices)}")
    for frame, index in enumerate(indices):
        if written[frame].tobytes() != found.values[index].astype("<f4").tobytes():
            raise wrong("PM", f"its numbers on slice {index} are not those that were found")
    _check_mapping(dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence, found)
    listed = {
        str(image.ReferencedSOPInstanceUID)
        for series in dataset.ReferencedSeriesSequence
        for image in series.ReferencedInstanceSequence
    }
    if listed != set(findings.frames):
        raise wrong("PM", "it references other images than those of the findings")


def _check_mapping(mappings: Sequence[Dataset], found: ParameterMap) -> None:
    (mapping,) = mappings
    unit = mapping.MeasurementUnitsCodeSequence[0]
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    told = (
        *(unit.CodeValue, unit.CodingSchemeDesignator),
        *(quantity.CodeValue, quantity.CodingSchemeDesignator),
        *(float(mapping.RealWorldValueSlope), float(mapping.RealWorldValueIntercept)),
    )
    wanted = found.unit.value, found.unit.scheme, found.concept.value, found.concept.scheme, 1.0, 0.0
    if told != wanted:
        raise wrong("PM", f"its numbers are said to be {told}, not {wanted}")
